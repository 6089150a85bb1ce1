// The same publish as a line for a shell.
//
// A message here is { topic, bytes, text (or null), qos, retain, contentType, expiry, user: [[name, value]] }.

/** The address that publishes `message`, without host. */
export function publishPath({ topic, qos, retain, expiry, user }) {
  const query = new URLSearchParams([['topic', topic], ['qos', qos]]);
  if (retain) query.set('retain', 'true');
  if (expiry) query.set('expiry', expiry);
  for (const [name, value] of user) query.append('user', `${name}=${value}`);
  return `api/v1/topics?${query}`;
}

/** A curl command that publishes `message` at the gateway whose pages are below `base`. */
export function asCurl(message, base) {
  const words = ['curl'];
  if (message.contentType) words.push('-H', quoted(`Content-Type: ${message.contentType}`));
  const inline = canBeWritten(message);
  words.push(...(inline ? ['--data-raw', quoted(message.text)] : ['--data-binary', '@-']));
  words.push(quoted(new URL(publishPath(message), base).href));
  return (inline ? '' : `${printed(message.bytes)} | `) + words.join(' ');
}

/** A mosquitto_pub command that publishes `message` at `host`, on MQTT's own port. */
export function asMosquitto(message, host) {
  const words = ['mosquitto_pub', '-V', 'mqttv5', '-h', quoted(host), '-t', quoted(message.topic), '-q', message.qos];
  if (message.retain) words.push('-r');
  if (message.contentType) words.push('-D', 'publish', 'content-type', quoted(message.contentType));
  if (message.expiry) words.push('-D', 'publish', 'message-expiry-interval', message.expiry);
  for (const [name, value] of message.user) words.push('-D', 'publish', 'user-property', quoted(name), quoted(value));
  if (!message.bytes.length) return [...words, '-n'].join(' ');
  if (canBeWritten(message)) return [...words, '-m', quoted(message.text)].join(' ');
  return `${printed(message.bytes)} | ${[...words, '-s'].join(' ')}`;
}

// an argument cannot hold NUL, nor bytes that are no text
function canBeWritten({ text }) {
  return text !== null && !text.includes('\0');
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function printed(bytes) {
  return `printf '${Array.from(bytes, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}'`;
}
