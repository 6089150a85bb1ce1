// Payloads are bytes. This file turns them into what people read and write, and back.

/** The bytes of an envelope's payload. */
export function bytesOf(envelope) {
  if (envelope.encoding === 'base64') return fromBase64(envelope.payload ?? '');
  return new TextEncoder().encode(envelope.payload ?? '');
}

/** Bytes from what a person wrote; throws an Error that says what is wrong with it. */
export function bytesFrom(written, encoding) {
  if (encoding === 'text') return new TextEncoder().encode(written);
  return encoding === 'hex' ? fromHex(written) : fromBase64(written);
}

/** The text that the bytes are, or null if they are none. */
export function textOf(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** "00 1f a0" */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** Lines of offset, sixteen bytes, and what of them is ASCII. */
export function hexDump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = bytes.subarray(at, at + 16);
    const ascii = Array.from(part, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${toHex(part).padEnd(47)}  ${ascii}`);
  }
  return lines.join('\n');
}

export function toBase64(bytes) {
  let binary = '';
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary);
}

function fromBase64(written) {
  const standard = written.replace(/\s+/g, '').replaceAll('-', '+').replaceAll('_', '/');
  try {
    return Uint8Array.from(atob(standard), (c) => c.charCodeAt(0));
  } catch {
    throw new Error('the payload is not base64');
  }
}

function fromHex(written) {
  const digits = written.replace(/0x|[\s:,]+/gi, '');
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) throw new Error('the payload is not hex: two digits per byte');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/**
 * JSON with line breaks, or null if the text is no JSON object or array. Only white space between tokens changes:
 * numbers, duplicates and order stay as they were sent.
 */
export function indentedJson(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g) ?? [];
  let [out, depth] = ['', 0];
  const newLine = () => `\n${'  '.repeat(Math.min(depth, 40))}`;
  tokens.forEach((token, at) => {
    if (token === '{' || token === '[') {
      depth += 1;
      out += token + ('}]'.includes(tokens[at + 1]) ? '' : newLine());
    } else if (token === '}' || token === ']') {
      depth -= 1;
      out += ('{['.includes(tokens[at - 1]) ? '' : newLine()) + token;
    } else {
      out += token === ',' ? token + newLine() : token === ':' ? ': ' : token;
    }
  });
  return out;
}
