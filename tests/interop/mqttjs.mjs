// MQTT.js against a gateway: every version over TCP and over WebSocket at each path, every QoS.
// Usage: node mqttjs.mjs HOST MQTT_PORT HTTP_PORT
import assert from 'node:assert/strict';
import { once } from 'node:events';
import mqtt from 'mqtt';

const [host, mqttPort, httpPort] = process.argv.slice(2);
const VERSIONS = [
  { name: '3.1', options: { protocolVersion: 3, protocolId: 'MQIsdp' } },
  { name: '3.1.1', options: { protocolVersion: 4 } },
  { name: '5', options: { protocolVersion: 5 } },
];
const ADDRESSES = [
  `mqtt://${host}:${mqttPort}`,
  `ws://${host}:${httpPort}`,
  `ws://${host}:${httpPort}/mqtt`,
  `ws://${host}:${httpPort}/ws`,
];

async function conversation(address, { name, options }) {
  const clientId = `mqttjs-${name}-${ADDRESSES.indexOf(address)}`.replaceAll('.', '');
  const client = await mqtt.connectAsync(address, { ...options, clientId, reconnectPeriod: 0, connectTimeout: 20_000 });
  const topic = `interop/mqttjs/${ADDRESSES.indexOf(address)}/${name}`;
  const [granted] = await client.subscribeAsync(topic, { qos: 2 });
  assert.equal(granted.qos, 2);
  for (const qos of [0, 1, 2]) {
    for (const payload of [Buffer.alloc(0), Buffer.from('Grüße'), Buffer.from(Array.from({ length: 256 }, (_, i) => i))]) {
      const arrival = once(client, 'message');
      const properties = options.protocolVersion === 5
        ? { userProperties: { a: ['1', '2'] }, contentType: 'text/plain' } : undefined;
      await client.publishAsync(topic, payload, { qos, properties });
      const [from, bytes, packet] = await arrival;
      assert.equal(from, topic);
      assert.deepEqual(bytes, payload);
      assert.equal(packet.qos, qos);
      assert.equal(packet.retain, false);
      if (properties) {
        assert.deepEqual({ ...packet.properties.userProperties }, { a: ['1', '2'] });
        assert.equal(packet.properties.contentType, 'text/plain');
      }
    }
  }
  await client.endAsync();
  console.log(`ok ${address.split(':')[0]} ${name}`);
}

setTimeout(() => {
  console.error('no answer within 60 s');
  process.exit(1);
}, 60_000).unref();
for (const address of ADDRESSES) {
  for (const version of VERSIONS) await conversation(address, version);
}
