// One stream of the gateway: an EventSource that also says why it ended. Knows nothing of the page.

/** Pause before a stream is opened again that the browser itself gave up. */
const AGAIN_MS = 3_000;

/**
 * `on` has: state(name, text) with the names connecting, live, waiting, closed; message(raw JSON, last event's
 * moment); control(name, data) for ready, gap and bye; fault(problem); unknown() when the gateway does not know any
 * longer who asks.
 */
export class Stream {
  #source = null;
  #timer = 0;
  #ended = false;

  constructor(filter, { retained }, on) {
    const query = new URLSearchParams([['topic', filter]]);
    if (!retained) query.set('retained', 'never');
    this.url = `api/v1/stream?${query}`;
    this.on = on;
    this.#open();
  }

  close() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  #open() {
    this.on.state('connecting', 'connecting');
    const source = new EventSource(this.url);
    this.#source = source;
    source.onmessage = (event) => this.on.message(event.data);
    source.addEventListener('ready', (event) => {
      this.on.state('live', 'live');
      this.on.control('ready', parsed(event.data));
    });
    source.addEventListener('gap', (event) => this.on.control('gap', parsed(event.data)));
    source.addEventListener('bye', (event) => this.#leave(parsed(event.data)));
    source.onerror = () => {
      if (this.#ended) return;
      // the browser comes back by itself, unless the answer was anything but 200
      if (source.readyState === EventSource.CLOSED) this.#askWhy();
      else this.on.state('waiting', 'connection lost, reconnecting');
    };
  }

  #leave(bye) {
    this.on.control('bye', bye);
    if (bye.reason === 'token_expired') {
      this.close();
      this.on.state('closed', 'the login is over');
      this.on.unknown();
    } else if (bye.reconnect) {
      this.on.state('waiting', `ended (${bye.reason}), reconnecting`);
    } else {
      this.close();
      this.on.state('closed', `ended: ${bye.reason}`);
    }
  }

  // an EventSource hides status and body; the same request as NDJSON tells them
  async #askWhy() {
    const abort = new AbortController();
    try {
      const response = await fetch(this.url, { headers: { Accept: 'application/x-ndjson' }, signal: abort.signal });
      if (!response.ok && response.status < 500) {
        const problem = await response.json().catch(() => ({ title: response.statusText, status: response.status }));
        if (this.#ended) return;
        this.close();
        this.on.state('closed', `refused: ${problem.title ?? problem.status}`);
        this.on.fault(problem);
        if (response.status === 401) this.on.unknown();
        return;
      }
    } catch {
      // unreachable: the next attempt will tell
    } finally {
      abort.abort();
    }
    if (this.#ended) return;
    this.on.state('waiting', 'the gateway does not answer, trying again');
    this.#timer = setTimeout(() => this.#open(), AGAIN_MS);
  }
}

function parsed(data) {
  try {
    return JSON.parse(data) ?? {};
  } catch {
    return {};
  }
}
