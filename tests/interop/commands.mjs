// Prints the commands that the dashboard offers for a publish: node commands.mjs HTTP-PORT TOPIC
import { asCurl, asMosquitto } from '../../static/dashboard/commands.js';

const [port, topic] = process.argv.slice(2);
const base = `http://127.0.0.1:${port}/`;
const gateway = await (await fetch(`${base}api/v1`)).json();
const message = (text) => ({ topic, bytes: new TextEncoder().encode(text), text, qos: 1, retain: true, user: [] });
console.log(asCurl(message('by curl'), base, gateway));
console.log(asMosquitto(message('by mosquitto_pub'), '127.0.0.1', gateway));
