import {
  type NetworkDiagnosis,
  type NetworkState,
  type NetworkStateMessage,
  type NetworkStateReport,
  NetworkStateReportResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { inspect } from "./inspect.ts";
import { SharedState } from "./shared-state.ts";

export interface NetworkStateOptions {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Serves `starling.v1.NetworkState` from the store's committed state, and operators' looks into the nodes' networks. All
 * streams share one reader of the store, which runs while there is a stream. A slow node holds up nobody: what it has
 * missed is a set of keys, looked up when it is ready for more.
 */
export function createNetworkStateHandlers(options: NetworkStateOptions): {
  readonly state: Handlers<typeof NetworkState>;
  readonly diagnosis: Handlers<typeof NetworkDiagnosis>;
} {
  let shared: SharedState | undefined;
  const nodeOf = (nodeId: string): string => {
    if (nodeId === "")
      throw new SwarmError("InvalidArgument", "the caller has no node id: call with a node's certificate");
    return nodeId;
  };
  return {
    state: {
      watch(_request, context): AsyncGenerator<NetworkStateMessage> {
        const nodeId = nodeOf(context.caller.nodeId);
        if (shared === undefined || shared.ended) shared = new SharedState(options);
        return shared.stream(nodeId, context.signal);
      },
      async report(report: NetworkStateReport, context) {
        const nodeId = nodeOf(context.caller.nodeId);
        if (!shared?.report(nodeId, report))
          throw new SwarmError("NotFound", `stream ${report.streamId} of node ${nodeId} has ended: watch again`);
        return NetworkStateReportResponse.create();
      },
    },
    diagnosis: {
      inspect: (request, context) => inspect(request, { ...options, shared, signal: context.signal }),
    },
  };
}
