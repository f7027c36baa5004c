// A node server that tells in each answer what it saw, as lib/recorder.py does; argument: the port.
const http = require('http');
const server = http.createServer({ keepAlive: true }, (request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const seen = {
      method: request.method, target: request.url, host: request.headers.host ?? '',
      headers: request.headers, body: Buffer.concat(parts).toString('latin1'),
      trailers: request.trailers,
    };
    response.setHeader('x-seen', Buffer.from(JSON.stringify(seen)).toString('base64'));
    response.setHeader('content-length', 2);
    response.end(request.method === 'HEAD' ? '' : 'ok');
  });
});
server.on('clientError', (error, socket) => {
  if (socket.writable) socket.write(`HTTP/1.1 400 Bad Request\r\nx-code: ${error.code}\r\n\r\n`);
  socket.destroySoon();
});
server.listen(Number(process.argv[2]), '127.0.0.1');
