// The WebSocket library ws on both sides (Debian's node-ws; NODE_PATH names its folder): `server PORT` gives
// every message back, `client PORT` talks and prints in JSON what came. Compression is offered.
const { WebSocket, WebSocketServer } = require('ws');
const [role, port] = process.argv.slice(2);

function runServer() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port), perMessageDeflate: { threshold: 0 } });
  server.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => {
      if (String(data) === 'bye') socket.close(4001, 'as told');
      else socket.send(data, { binary: isBinary });
    });
  });
}

async function runClient() {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { perMessageDeflate: { threshold: 0 } });
  const told = { texts: 0, pongs: 0 }, waiting = [];
  socket.on('message', (data) => waiting.shift()(data));
  socket.on('pong', (data) => { told.pongs += String(data) === 'are you there' ? 1 : 0; });
  socket.on('error', (error) => { console.log(JSON.stringify({ ...told, error: String(error) })); process.exit(1); });
  const ask = (data) => new Promise((resolve) => { waiting.push(resolve); socket.send(data); });
  await new Promise((resolve) => socket.on('open', resolve));
  told.extensions = socket.extensions;
  for (let n = 0; n < 100; n++) told.texts += String(await ask(`message ${n}`)) === `message ${n}` ? 1 : 0;
  const binary = Buffer.alloc(1 << 20, 'binary ').fill(7, 1000, 2000);
  told.isBinaryEqual = binary.equals(await ask(binary));
  const pong = new Promise((resolve) => socket.once('pong', resolve));
  socket.ping('are you there');
  await pong;
  socket.on('close', (code, reason) => {
    console.log(JSON.stringify({ ...told, code, reason: String(reason) }));
    process.exit(0);
  });
  socket.send('bye');
}

if (role === 'server') runServer(); else runClient();
