import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import {
  Annotations,
  CA,
  Cluster,
  ClusterSpec,
  Control,
  defaultClusterName,
  Logs,
  Network,
  NetworkSpec,
  Node,
  NodeDescription,
  NodeRole,
  NodeStatus,
  NodeStatus_State,
  RootCA,
  Unlock,
} from "@starling/api";
import { addService, type Handlers } from "@starling/api/rpc";
import { nullLogger, systemClock } from "@starling/base";
import { createCaServer } from "@starling/ca";
import { createControlHandlers, type ImageResolver } from "@starling/control-api";
import { MemoryStore } from "@starling/store";
import { run } from "@starling/swarmctl";

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The Control API on a real store behind a real socket, and command lines run against it in this process. */
export class TestCluster {
  readonly store: MemoryStore;
  readonly socket: string;
  readonly #server: Server;
  readonly #folder: string;

  private constructor(store: MemoryStore, socket: string, server: Server, folder: string) {
    this.store = store;
    this.socket = socket;
    this.#server = server;
    this.#folder = folder;
  }

  /** Two nodes, the cluster object, the ingress network. */
  static async start(
    options: {
      readonly logs?: Handlers<typeof Logs>;
      readonly unlock?: Handlers<typeof Unlock>["unlock"];
      readonly images?: ImageResolver;
    } = {},
  ): Promise<TestCluster> {
    const store = new MemoryStore({ clock: systemClock });
    const annotations = (name: string) => Annotations.create({ name });
    await store.update((tx) => {
      tx.clusters.create(
        Cluster.create({
          id: "cluster-id",
          spec: ClusterSpec.create({ annotations: annotations(defaultClusterName) }),
          rootCa: RootCA.create({ joinTokens: { worker: "SWMTKN-1-d-w", manager: "SWMTKN-1-d-m" } }),
        }),
      );
      tx.networks.create(
        Network.create({
          id: "ingress-id",
          spec: NetworkSpec.create({ annotations: annotations("ingress"), ingress: true }),
        }),
      );
      for (const [id, hostname, role] of [
        ["node-a", "m1", NodeRole.MANAGER],
        ["node-b", "w1", NodeRole.WORKER],
      ] as const) {
        const status = NodeStatus.create({ state: NodeStatus_State.READY });
        tx.nodes.create(Node.create({ id, role, status, description: NodeDescription.create({ hostname }) }));
      }
    });
    const folder = mkdtempSync(join(tmpdir(), "swarmctl-"));
    const socket = join(folder, "control.sock");
    const server = new Server();
    const authorization = { authorize: "local", organization: () => "cluster-id" } as const;
    const { images } = options;
    const control = createControlHandlers({ store, clock: systemClock, log: nullLogger, images });
    addService(server, Control, control, authorization);
    const shared = { store, clusterId: "cluster-id", clock: systemClock, log: nullLogger };
    addService(server, CA, createCaServer({ ...shared, identity: { chainPem: "", keyPem: "" } }).ca, authorization);
    if (options.unlock) addService(server, Unlock, { unlock: options.unlock }, authorization);
    if (options.logs) addService(server, Logs, options.logs, authorization);
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      );
    });
    return new TestCluster(store, socket, server, folder);
  }

  /** Runs `swarmctl` with these words, as a script would. */
  async run(...words: readonly string[]): Promise<Result> {
    return this.runWith({}, ...words);
  }

  async runWith(
    given: {
      readonly signal?: AbortSignal;
      readonly input?: string;
      readonly onOut?: (text: string) => void;
      readonly columns?: number;
    },
    ...words: readonly string[]
  ): Promise<Result> {
    let out = "";
    let err = "";
    const code = await run(words, {
      env: { SWARM_SOCKET: this.socket },
      signal: given.signal ?? new AbortController().signal,
      columns: given.columns,
      out: (text) => {
        out += text;
        given.onOut?.(text);
      },
      err: (text) => {
        err += text;
      },
      readInput: async () => Buffer.from(given.input ?? ""),
      readSecret: async () => given.input ?? "",
      readLine: async () => given.input ?? "",
      terminal: async () => undefined,
      onSignal: async () => () => undefined,
      inputStream: () => Readable.from([Buffer.from(given.input ?? "")]),
      outBytes: async (bytes) => {
        out += Buffer.from(bytes).toString("latin1");
      },
    });
    return { code, out, err };
  }

  stop(): void {
    this.#server.forceShutdown();
    rmSync(this.#folder, { recursive: true });
  }
}
