// WebSocket over HTTP/2 (RFC 8441) by node: `client PORT PATH` sends "hello" and prints in JSON what
// came; `server PORT` gives back the first message of each. Short text frames alone.
const http2 = require('http2');
const [role, port, path] = process.argv.slice(2);

function frame(text, isMasked) {
  const body = Buffer.from(text), mask = Buffer.from([1, 2, 3, 4]);
  if (!isMasked) return Buffer.concat([Buffer.from([0x81, body.length]), body]);
  const masked = Buffer.from(body.map((byte, i) => byte ^ mask[i % 4]));
  return Buffer.concat([Buffer.from([0x81, 0x80 | body.length]), mask, masked]);
}

// The payload of the first frame, or null when it is not whole yet.
function unframe(data) {
  if (data.length < 2) return null;
  const length = data[1] & 0x7f, isMasked = data[1] & 0x80, at = isMasked ? 6 : 2;
  if (data.length < at + length) return null;
  const body = data.subarray(at, at + length);
  return (isMasked ? Buffer.from(body.map((byte, i) => byte ^ data[2 + i % 4])) : body).toString();
}

function onFirst(stream, handle) {
  let data = Buffer.alloc(0), isDone = false;
  stream.on('data', (part) => {
    data = Buffer.concat([data, part]);
    const text = isDone ? null : unframe(data);
    if (text === null) return;
    isDone = true;
    handle(text);
  });
}

function runClient() {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', (error) => { console.log(JSON.stringify({ error: String(error) })); process.exit(1); });
  session.on('remoteSettings', () => {
    const stream = session.request({
      ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':path': path,
      ':authority': 'test', 'sec-websocket-version': '13' });
    const told = {};
    stream.on('response', (headers) => {
      told.status = headers[':status'];
      told.headers = headers;
      if (told.status !== 200) { console.log(JSON.stringify(told)); process.exit(0); }
      stream.write(frame('hello', true));
    });
    onFirst(stream, (text) => { told.text = text; console.log(JSON.stringify(told)); process.exit(0); });
    stream.on('error', (error) => { console.log(JSON.stringify({ ...told, error: String(error) })); process.exit(0); });
  });
}

function runServer() {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    if (headers[':protocol'] !== 'websocket') { stream.respond({ ':status': 404 }, { endStream: true }); return; }
    stream.respond({ ':status': 200 });
    onFirst(stream, (text) => {
      stream.write(frame(`${headers[':path']} ${text}`, false));
      stream.on('data', () => stream.end(Buffer.from([0x88, 0]))); // what comes now is its close
    });
  });
  server.listen(Number(port), '127.0.0.1');
}

if (role === 'client') runClient(); else runServer();
