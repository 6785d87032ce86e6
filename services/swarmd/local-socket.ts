import type { Server } from "@grpc/grpc-js";
import { NodeSelf, registry, type ServiceTable } from "@starling/api";
import { type Handlers, listenLocal, type ServedService, serve, shutDown } from "@starling/api/rpc";
import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";

/** How long an answer may take to get out before the socket closes. */
const graceMs: Millis = 500;

/** The local socket of a node that is no manager: it answers for the node itself, and says where all else is answered. */
export class WorkerSocket {
  readonly #path: string;
  readonly #self: ServedService;
  readonly #clock: Clock;
  readonly #log: Logger;
  #server: Server | undefined;

  constructor(options: {
    readonly path: string;
    readonly self: Handlers<typeof NodeSelf>;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#path = options.path;
    this.#self = serve(NodeSelf, options.self);
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Throws AlreadyExists when another swarmd answers there. */
  async open(): Promise<void> {
    const others = Object.values(registry.services).filter(({ name }) => name !== NodeSelf.name);
    const services = [this.#self, ...others.map((table) => serve(table, refusing(table)))];
    const options = { authorize: "local", organization: () => "", log: this.#log } as const;
    this.#server = await listenLocal(this.#path, services, options);
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server) await shutDown(server, { clock: this.#clock, graceMs });
  }
}

function refusing(table: ServiceTable): Handlers<ServiceTable> {
  const elsewhere = () =>
    new SwarmError("FailedPrecondition", "this node is not a swarm manager: run this on a manager's host");
  const unary = async () => {
    throw elsewhere();
  };
  // biome-ignore lint/correctness/useYield: it refuses before it has anything to say
  const stream = async function* () {
    throw elsewhere();
  };
  const methods = Object.entries(table.methods);
  return Object.fromEntries(methods.map(([name, { responseStream }]) => [name, responseStream ? stream : unary]));
}
