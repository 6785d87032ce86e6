import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { createConnection } from "node:net";
import { type Clock, SwarmError } from "@starling/base";

const timeoutMs = 2_000;
/** Queries under way to upstreams at once, for all tasks of the node; those beyond are answered SERVFAIL. */
const inflightMax = 512;

/** Asks the host's resolvers on behalf of tasks, from the host's namespace. */
export class Upstream {
  readonly #clock: Clock;
  readonly #servers: readonly string[];
  #inflight = 0;

  /** `servers` are IPv4 or IPv6 addresses, tried in order. */
  constructor(servers: readonly string[], clock: Clock) {
    this.#servers = servers;
    this.#clock = clock;
  }

  /** The first answer from any of the servers (`overrides` before the host's). Rejects Unavailable when none answers. */
  async ask(query: Buffer, transport: "udp" | "tcp", overrides: readonly string[] = []): Promise<Buffer> {
    if (this.#inflight >= inflightMax) throw new SwarmError("ResourceExhausted", "too many queries under way");
    this.#inflight++;
    try {
      for (const server of overrides.length > 0 ? overrides : this.#servers) {
        const answer = await (transport === "udp" ? this.#udp(server, query) : this.#tcp(server, query));
        if (answer !== undefined) return answer;
      }
    } finally {
      this.#inflight--;
    }
    throw new SwarmError("Unavailable", "no resolver answered");
  }

  /** Undefined when `server` doesn't answer in time. The query goes out under a random id of its own. */
  #udp(server: string, query: Buffer): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const socket = createSocket(server.includes(":") ? "udp6" : "udp4");
      const id = randomInt(0x10000);
      const finish = (answer?: Buffer) => {
        timer.cancel();
        socket.removeAllListeners("message");
        socket.close();
        resolve(answer);
      };
      const timer = this.#clock.setTimer(timeoutMs, () => finish());
      socket.once("error", () => finish());
      socket.on("message", (message) => {
        if (message.length >= 12 && message.readUInt16BE(0) === id) finish(withId(message, query.readUInt16BE(0)));
      });
      socket.connect(53, server, (error?: Error) => {
        if (error) return finish();
        socket.send(withId(query, id));
      });
    });
  }

  #tcp(server: string, query: Buffer): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const socket = createConnection({ host: server, port: 53 });
      let received = Buffer.alloc(0);
      const finish = (answer?: Buffer) => {
        timer.cancel();
        socket.destroy();
        resolve(answer);
      };
      const timer = this.#clock.setTimer(timeoutMs, () => finish());
      socket.on("error", () => finish());
      socket.on("close", () => finish());
      socket.on("data", (chunk) => {
        received = Buffer.concat([received, chunk]);
        if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
          finish(received.subarray(2, 2 + received.readUInt16BE(0)));
        }
      });
      socket.write(framed(query));
    });
  }
}

function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}

/** A message as TCP carries it: two bytes of length before it (RFC 1035 §4.2.2). */
export function framed(message: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
