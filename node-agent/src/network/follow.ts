import { type NetworkStateMessage, NetworkStateMessage_Type, NetworkStateReport } from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import type { NodeNetwork } from "./node-network.ts";

export interface FollowOptions {
  /** Opens `NetworkState.Watch` at a manager; called again whenever the stream ended. */
  readonly open: (signal: AbortSignal) => AsyncIterable<NetworkStateMessage>;
  /** Calls `NetworkState.Report` at the same manager. */
  readonly report: (report: NetworkStateReport) => Promise<unknown>;
  readonly network: NodeNetwork;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

const backoffMs = { first: 50, max: 1_000 };

/**
 * Keeps `network` up to date until the signal aborts: a stream that ends or skips a message is opened anew, after a while
 * that doubles. Ends when the managers do not know such streams.
 */
export async function followNetworkState(options: FollowOptions): Promise<void> {
  const { clock, log, network, signal } = options;
  let backoff = backoffMs.first;
  while (!signal.aborted) {
    try {
      for await (const message of inOrder(options.open(signal))) {
        backoff = backoffMs.first;
        if (message.streamId !== "") network.managers.connected(reporter(options, message.streamId));
        await network.receive(message);
      }
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code === "Unimplemented") return await network.managersAreForeign();
      if (!signal.aborted) log.info("network state stream ended", { error });
    }
    if (signal.aborted) return;
    network.managers.connected(undefined);
    // Aborted while asleep: the loop's condition ends it.
    await clock.sleep(backoff, signal).catch(() => {});
    backoff = Math.min(backoff * 2, backoffMs.max);
  }
}

function reporter({ report, log }: FollowOptions, streamId: string) {
  return (fields: Partial<NetworkStateReport>): void => {
    report(NetworkStateReport.create({ ...fields, streamId })).catch((error) =>
      // The next stream's first message asks anew.
      log.debug("network report not taken", { error: SwarmError.from(error) }),
    );
  };
}

async function* inOrder(messages: AsyncIterable<NetworkStateMessage>): AsyncIterable<NetworkStateMessage> {
  let last: number | undefined;
  for await (const message of messages) {
    const complete = message.type === NetworkStateMessage_Type.COMPLETE;
    if (!complete && message.sequence !== (last ?? -1) + 1) {
      throw new SwarmError("DataLoss", `network state message ${message.sequence} follows ${last ?? "none"}`);
    }
    last = message.sequence;
    yield message;
  }
}
