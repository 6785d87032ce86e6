import { createSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "@starling/base";
import { decode, encode, type Packet } from "dns-packet";
import type { NameServerSockets } from "../task-network.ts";
import { answerQuery, isPlausibleQuery, type Names, Rcode, refuse, truncatedFlag, udpLimit } from "./answer.ts";
import { framed, type Upstream } from "./upstream.ts";

const tcpConnectionsMax = 64;
const tcpIdleMs = 10_000;

/**
 * The name server of one task, on sockets inside its namespace: who asks is known by the socket. Everything that arrives
 * is a container's and so untrusted: what can't be decoded is dropped (UDP) or ends the connection (TCP).
 */
export class NameServer {
  readonly #names: Names;
  readonly #upstream: Upstream;
  readonly #resolvers: readonly string[];
  readonly #log: Logger;
  readonly #udp = createSocket("udp4");
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #rotation = 0;

  constructor(
    sockets: NameServerSockets,
    options: {
      readonly names: Names;
      readonly upstream: Upstream;
      /** Asked instead of the host's resolvers (the task's own DNS configuration). */
      readonly resolvers: readonly string[];
      readonly log: Logger;
    },
  ) {
    this.#names = options.names;
    this.#upstream = options.upstream;
    this.#resolvers = options.resolvers;
    this.#log = options.log;
    this.#udp.on("message", (message, asker) => {
      void this.#answer(message, "udp").then((answer) => {
        if (answer !== undefined) this.#udp.send(answer, asker.port, asker.address, () => {});
      });
    });
    this.#udp.on("error", (error) => this.#log.warn("name server socket failed", { error }));
    this.#udp.bind({ fd: sockets.udpFd });
    this.#tcp = createServer((socket) => this.#serve(socket));
    this.#tcp.maxConnections = tcpConnectionsMax;
    this.#tcp.on("error", (error) => this.#log.warn("name server socket failed", { error }));
    this.#tcp.listen({ fd: sockets.tcpFd });
    this.#tcp.unref();
    this.#udp.unref();
  }

  /** Closes the sockets, which lets the namespace end. */
  close(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  async #answer(message: Buffer, transport: "udp" | "tcp"): Promise<Uint8Array | undefined> {
    if (!isPlausibleQuery(message)) return undefined;
    let query: Packet;
    try {
      query = decode(message);
    } catch {
      // Not DNS, or meant to hurt.
      return undefined;
    }
    try {
      const answer = answerQuery(query, this.#names, this.#rotation++ & 0xffff);
      if (answer === "forward") return await this.#forward(message, query, transport);
      const bytes = encode(answer);
      if (transport === "tcp" || bytes.length <= udpLimit(query)) return bytes;
      return encode({ ...answer, flags: (answer.flags ?? 0) | truncatedFlag, answers: [] });
    } catch (error) {
      this.#log.debug("name query failed", { error });
      return undefined;
    }
  }

  async #forward(message: Buffer, query: Packet, transport: "udp" | "tcp"): Promise<Uint8Array> {
    try {
      return await this.#upstream.ask(message, transport, this.#resolvers);
    } catch {
      // No resolver answers: the asker should hear so rather than wait.
      return encode(refuse(query, Rcode.serverFailure));
    }
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    let received = Buffer.alloc(0);
    socket.setTimeout(tcpIdleMs, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#connections.delete(socket));
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const message = received.subarray(2, end);
        received = received.subarray(end);
        void this.#answer(message, "tcp").then((answer) => {
          if (answer === undefined) socket.destroy();
          else if (socket.writable) socket.write(framed(answer));
        });
      }
    });
  }
}
