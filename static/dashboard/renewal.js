// Keeps the session of an open page from ending: renews it when half of it is over.

const SESSION = 'auth/session';
/** Shortest time between two renewals, and the pause before a gateway is asked again that could not be reached. */
const PAUSE_MS = 60_000;

export class Renewal {
  #timer = 0;
  #expires = null;

  /** `over()` is called when the gateway does not know the session any longer. */
  constructor({ over }) {
    this.over = over;
  }

  /** Renews in time the session that `response` told of; `expires` is null if none was told of. */
  follow(response, expires) {
    this.stop();
    if (!expires) return;
    this.#expires = expires;
    // by the gateway's clock: that of this machine may be wrong
    const now = Date.parse(response.headers.get('Date')) || Date.now();
    this.#after((Date.parse(expires) - now) / 2);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#expires = null;
  }

  #after(millis) {
    this.#timer = setTimeout(() => this.#renew(this.#expires), Math.max(millis, PAUSE_MS));
  }

  async #renew(expires) {
    try {
      const response = await fetch(SESSION, { method: 'POST' });
      const answer = response.ok ? await response.json() : null;
      // meanwhile somebody logged out, or in as another
      if (this.#expires !== expires) return;
      if (response.status === 401) {
        this.stop();
        this.over();
      } else if (!answer) {
        this.#after(PAUSE_MS);
      } else if (answer.expires !== expires) {
        // else it ends with the token that it was begun with, which nothing puts off
        this.follow(response, answer.expires);
      }
    } catch {
      if (this.#expires === expires) this.#after(PAUSE_MS);
    }
  }
}
