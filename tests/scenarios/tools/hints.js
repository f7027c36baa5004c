// 103 Early Hints by node: `server PORT [http2]` sends hints with /page, and answers it only when somebody
// has asked for /seen; `client PORT [http2]` asks for /page and, once the hints are there, for /seen. Prints
// in JSON what came: without the hints in time neither ends.
const http = require('http'), http2 = require('http2');
const [role, port, version] = process.argv.slice(2);
const LINK = '</style.css>; rel=preload; as=style';

function runServer() {
  const pages = [];
  const handle = (request, response) => {
    if (request.url === '/seen') {
      for (const page of pages.splice(0)) page.end('page');
      response.end('seen');
      return;
    }
    pages.push(response);
    if (version === 'http2') response.stream.additionalHeaders({ ':status': 103, link: LINK });
    else response.writeEarlyHints({ link: LINK });
  };
  const server = version === 'http2' ? http2.createServer(handle) : http.createServer(handle);
  server.listen(Number(port), '127.0.0.1');
}

function tell(told) {
  console.log(JSON.stringify(told));
  process.exit(0);
}

function runClient1() {
  const told = {}, agent = new http.Agent({ maxSockets: 4 });
  const request = http.get({ host: '127.0.0.1', port, path: '/page', agent });
  request.on('information', (info) => {
    told.hints = { status: info.statusCode, link: info.headers.link };
    http.get({ host: '127.0.0.1', port, path: '/seen', agent }, (seen) => seen.resume());
  });
  request.on('response', (response) => {
    told.status = response.statusCode;
    response.setEncoding('utf8');
    response.on('data', (text) => { told.body = (told.body ?? '') + text; });
    response.on('end', () => tell(told));
  });
}

function runClient2() {
  const told = {}, session = http2.connect(`http://127.0.0.1:${port}`);
  const request = session.request({ ':path': '/page' });
  request.on('headers', (headers) => {
    told.hints = { status: headers[':status'], link: headers.link };
    session.request({ ':path': '/seen' }).resume();
  });
  request.on('response', (headers) => { told.status = headers[':status']; });
  request.setEncoding('utf8');
  request.on('data', (text) => { told.body = (told.body ?? '') + text; });
  request.on('end', () => tell(told));
}

if (role === 'server') runServer(); else if (version === 'http2') runClient2(); else runClient1();
