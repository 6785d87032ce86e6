import { codeName, metrics } from "@starling/base";
import type { MethodTable } from "../message.ts";

type AnyMethod = Pick<MethodTable<never, never, boolean, boolean>, "path" | "requestStream" | "responseStream">;
type Side = "server" | "client";

const methodLabels = ["grpc_type", "grpc_service", "grpc_method"] as const;
type MethodLabels = Readonly<Record<(typeof methodLabels)[number], string>>;

/** Calls of one method, as they are made or answered here. Plain numbers: some methods are called thousands of times a second. */
export class RpcCounts {
  readonly labels: MethodLabels;
  #started = 0;
  #sent = 0;
  #received = 0;
  /** By gRPC's code. */
  readonly #handled = new Map<number, number>();

  constructor({ path, requestStream, responseStream }: AnyMethod) {
    const [, grpc_service = "", grpc_method = ""] = path.split("/");
    const streams = requestStream ? (responseStream ? "bidi_stream" : "client_stream") : undefined;
    this.labels = { grpc_type: streams ?? (responseStream ? "server_stream" : "unary"), grpc_service, grpc_method };
  }

  started(): void {
    this.#started++;
  }

  sent(): void {
    this.#sent++;
  }

  received(): void {
    this.#received++;
  }

  handled(code: number): void {
    this.#handled.set(code, (this.#handled.get(code) ?? 0) + 1);
  }

  get totals() {
    return { started: this.#started, sent: this.#sent, received: this.#received, handled: this.#handled };
  }
}

const known = { server: new Map<string, RpcCounts>(), client: new Map<string, RpcCounts>() };

/** What calls of `method` are counted by, under the names and labels that SwarmKit's counters have (go-grpc-prometheus). */
export function rpcCounts(side: Side, method: AnyMethod): RpcCounts {
  const counts = known[side].get(method.path) ?? new RpcCounts(method);
  known[side].set(method.path, counts);
  return counts;
}

for (const side of ["server", "client"] as const) {
  const counter = (what: "started" | "sent" | "received", name: string, help: string) =>
    metrics.readCounter(`grpc_${side}_${name}_total`, help, methodLabels, function* () {
      for (const { labels, totals } of known[side].values()) if (totals[what] > 0) yield [labels, totals[what]];
    });
  counter("started", "started", `RPCs started on the ${side}.`);
  counter("sent", "msg_sent", `Messages of RPCs sent by the ${side}.`);
  counter("received", "msg_received", `Messages of RPCs received on the ${side}.`);
  const help = `RPCs completed on the ${side}, whatever came of them.`;
  metrics.readCounter(`grpc_${side}_handled_total`, help, [...methodLabels, "grpc_code"], function* () {
    for (const { labels, totals } of known[side].values()) {
      for (const [code, count] of totals.handled) yield [{ ...labels, grpc_code: codeName(code) }, count];
    }
  });
}
