// The client of client.py in JavaScript: grpc-js with its xDS plugin.
//     client.js MODULES TARGET plain|xds
'use strict';
const path = require('path');
const readline = require('readline');

const [modules, target, security] = process.argv.slice(2);
const grpc = require(path.join(modules, '@grpc/grpc-js'));
const xds = require(path.join(modules, '@grpc/grpc-js-xds'));

const same = (bytes) => bytes;

function once(client, question) {
    const metadata = new grpc.Metadata();
    for (const [key, value] of Object.entries(question.headers || {})) metadata.set(key, value);
    const deadline = Date.now() + 1000 * (question.timeout_s || 20);
    return new Promise((resolve) => {
        client.makeUnaryRequest(question.method || '/shop.Catalog/Get', same, same, Buffer.alloc(0), metadata,
            { deadline }, (error, answer) => resolve({ error, answer }));
    });
}

async function ask(client, question) {
    const result = { codes: {}, servers: {}, last: null, error: '' };
    const count = (of, key) => { of[key] = (of[key] || 0) + 1; };
    for (let i = 0; i < (question.count || 1); i++) {
        const { error, answer } = await once(client, question);
        if (error) {
            count(result.codes, grpc.status[error.code]);
            result.error = error.details;
            continue;
        }
        result.last = JSON.parse(answer);
        count(result.codes, 'OK');
        count(result.servers, result.last.server);
    }
    return result;
}

async function main() {
    xds.register();
    const plain = grpc.credentials.createInsecure();
    const client = new grpc.Client(target,
        security === 'xds' ? new xds.XdsChannelCredentials(plain) : plain);
    for await (const line of readline.createInterface({ input: process.stdin }))
        console.log(JSON.stringify(await ask(client, JSON.parse(line))));
    process.exit(0);
}

main();
