// Reads answers with node's client and tells of each, in JSON, what it is: {status, body} or {error}.
// Arguments: the port, then METHOD PATH pairs.
const http = require('http');
const [port, ...rest] = process.argv.slice(2);
const fetch = (method, path) => new Promise((resolve) => {
  const request = http.request({ port, method, path, agent: false, host: '127.0.0.1' }, (response) => {
    const parts = [];
    response.on('data', (part) => parts.push(part));
    response.on('aborted', () => resolve({ error: 'aborted' }));
    response.on('error', (error) => resolve({ error: error.code }));
    response.on('end', () => resolve(response.complete
      ? { status: response.statusCode, body: Buffer.concat(parts).toString('latin1') }
      : { error: 'incomplete' }));
  });
  request.on('error', (error) => resolve({ error: error.code }));
  request.end();
});
(async () => {
  for (let i = 0; i < rest.length; i += 2) console.log(JSON.stringify(await fetch(rest[i], rest[i + 1])));
})();
