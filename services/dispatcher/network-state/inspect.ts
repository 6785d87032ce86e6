import {
  type InspectNetworkRequest,
  InspectNetworkResponse,
  isForeignNode,
  type NetworkFinding,
  type NetworkInspection,
  NetworkStateQuestion,
  NetworkStateQuestion_Kind,
  NodeInspection,
} from "@starling/api";
import { newId, SwarmError } from "@starling/base";
import { all } from "@starling/store";
import { judgeClock } from "./clock-offset.ts";
import type { NetworkStateOptions } from "./handlers.ts";
import type { SharedState } from "./shared-state.ts";

const defaultTimeoutMs = 10_000;
const timeoutMaxMs = 120_000;

/** Asks the nodes that are connected and gathers what they find; who doesn't answer in time is listed with an error. */
export async function inspect(
  request: InspectNetworkRequest,
  context: NetworkStateOptions & { readonly shared: SharedState | undefined; readonly signal: AbortSignal },
): Promise<InspectNetworkResponse> {
  const { store, clock, shared, signal } = context;
  const known = store.view((tx) => tx.nodes.find(all));
  const unknown = request.nodeIds.find((id) => !known.some((node) => node.id === id));
  if (unknown !== undefined) throw new SwarmError("NotFound", `node ${unknown} not found`);
  // Docker's engines take no part in these networks: they are asked only when somebody names them, to say so.
  const wanted =
    request.nodeIds.length === 0
      ? known.filter(({ description }) => !isForeignNode(description))
      : known.filter(({ id }) => request.nodeIds.includes(id));
  const answers = new Map<string, NetworkInspection>();
  const clocks = new Map<string, readonly NetworkFinding[]>();
  const connected = shared === undefined || shared.ended ? new Set<string>() : shared.connected;
  const asked = new Set(wanted.map(({ id }) => id).filter((id) => connected.has(id)));
  if (shared !== undefined && asked.size > 0) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = clock.setTimer(Math.min(request.timeoutMs || defaultTimeoutMs, timeoutMaxMs), resolve);
    signal.addEventListener("abort", () => resolve(), { once: true });
    const { kind, repair } = request;
    const askedAt = clock.now();
    const end = shared.ask(NetworkStateQuestion.create({ id: newId(), kind, repair }), asked, (nodeId, answer) => {
      answers.set(nodeId, answer);
      const times = { asked: askedAt, answered: clock.now(), clockMs: answer.clockMs };
      if (kind === NetworkStateQuestion_Kind.CHECK) clocks.set(nodeId, judgeClock(times));
      if (answers.size === asked.size) resolve();
    });
    await promise;
    timer.cancel();
    end();
  }
  const nodes = wanted.map((node) => {
    const answer = answers.get(node.id);
    const silence = connected.has(node.id) ? "the node did not answer in time" : "the node is not connected";
    return NodeInspection.create({
      nodeId: node.id,
      hostname: node.description?.hostname ?? "",
      findings: [...(answer?.findings ?? []), ...(clocks.get(node.id) ?? [])],
      error: answer === undefined ? silence : answer.error,
      paths: answer?.paths ?? [],
    });
  });
  return InspectNetworkResponse.create({ nodes });
}
