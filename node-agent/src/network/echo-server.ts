import { createServer, type Server } from "node:net";
import type { Logger } from "@starling/base";
import { runSteps } from "@starling/native/net";

/** What one connection may take, in milliseconds and bytes; more than any check sends. */
const idleMs = 5_000;
const connectionsMax = 256;

/**
 * Sends back what other nodes' checks send by TCP, at this host's address in the mesh: there the answer's packets, too, take the
 * way that tasks' do.
 */
export class EchoServer {
  readonly #netns: string | undefined;
  readonly #log: Logger;
  #address = "";
  #server: Server | undefined;

  /** `netns` is the host's network namespace; undefined: the process's own. */
  constructor(log: Logger, netns: string | undefined) {
    this.#log = log;
    this.#netns = netns;
  }

  /** Listens at the address and port from now on; empty: nowhere. The host must have the address. */
  async listenAt(address: string, port: number): Promise<void> {
    const at = address === "" ? "" : `${address}:${port}`;
    if (at === this.#address) return;
    this.close();
    this.#address = at;
    if (at === "") return;
    try {
      const [{ fd }] = await runSteps(this.#netns, [{ type: "socket", tcp: true, address, port }]);
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        socket.setTimeout(idleMs, () => socket.destroy());
        // A caller that is gone asks for nothing.
        socket.on("error", () => socket.destroy());
        socket.pipe(socket);
      });
      server.maxConnections = connectionsMax;
      server.listen({ fd });
      this.#server = server;
    } catch (error) {
      // Checks of other nodes say that nothing answers here.
      this.#log.warn("checks of other nodes can't be answered", { address: at, error });
    }
  }

  close(): void {
    this.#server?.close();
    this.#server = undefined;
    this.#address = "";
  }
}
