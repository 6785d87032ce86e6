import type { ChannelCredentials } from "@grpc/grpc-js";
import { type LeaderChannel, type LeaderRoute, RpcClient } from "@starling/api/rpc";
import { type Clock, type Millis, SwarmError, type Timer } from "@starling/base";

/** How long a call waits for a leader to be elected before it is refused. */
const leaderWaitMs = 3_000;
const pollMs = 10;

/**
 * Where the leader is now. Keeps one channel, to the present leader; calls that were sent to one that is no longer it
 * are given up, since a dead host would never answer. While there is no leader, calls wait for a short while: an election
 * takes about a second, and a user should not see it. Those that were sent before go on so long: raft may have missed the
 * leader's word on a busy host, and thousands of sessions need not begin anew for that.
 */
export class ManagerRoute implements LeaderRoute {
  readonly ownAddress: string;
  readonly #leading: () => AbortSignal | undefined;
  readonly #credentials: ChannelCredentials;
  readonly #clock: Clock;
  /** Calls that wait for a leader. */
  readonly #waiting = new Set<() => void>();
  #looking = false;
  #leaderAddress: string | undefined;
  /** Runs while no leader is known to whom the channel may still go. */
  #missed: Timer | undefined;
  #channel: (LeaderChannel & { readonly abort: AbortController }) | undefined;

  /** `leading`: aborts when this manager's loops end; undefined while they do not run. */
  constructor(options: {
    readonly ownAddress: string;
    readonly leading: () => AbortSignal | undefined;
    readonly credentials: ChannelCredentials;
    readonly clock: Clock;
  }) {
    this.ownAddress = options.ownAddress;
    this.#leading = options.leading;
    this.#credentials = options.credentials;
    this.#clock = options.clock;
  }

  isLeader(): boolean {
    return this.#leading() !== undefined;
  }

  leadingSignal(): AbortSignal {
    return this.#leading() ?? AbortSignal.abort(new SwarmError("Unavailable", "this manager no longer leads"));
  }

  /** To be told of each change: the remote API address of the leader that raft knows, this manager's own included. */
  leaderIs(address: string | undefined): void {
    if (address === this.#leaderAddress) return;
    this.#leaderAddress = address;
    this.#missed?.cancel();
    this.#missed = undefined;
    if (this.#channel === undefined || address === this.#channel.client.address) return;
    if (address === undefined) this.#missed = this.#clock.setTimer(leaderWaitMs, () => this.close());
    else this.close();
  }

  async resolve({ relayed, signal }: { readonly relayed: boolean; readonly signal: AbortSignal }) {
    const deadline = this.#clock.monotonic() + leaderWaitMs;
    while (!this.#hasLeader()) await this.#waitForLeader(deadline, signal);
    if (this.isLeader()) return "self" as const;
    if (!relayed) return this.#channelTo(this.#leaderAddress!);
    throw new SwarmError("ResourceExhausted", "a relayed call reached a manager that is not the leader: try again");
  }

  /** Own address alone does not count: the loops have yet to start, or to end. */
  #hasLeader(): boolean {
    return this.isLeader() || (this.#leaderAddress !== undefined && this.#leaderAddress !== this.ownAddress);
  }

  #waitForLeader(deadline: Millis, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(SwarmError.from(signal.reason));
      const settledBy = (settle: () => void) => () => {
        this.#waiting.delete(wake);
        timer.cancel();
        signal.removeEventListener("abort", abort);
        settle();
      };
      const wake = settledBy(resolve);
      const abort = settledBy(() => reject(SwarmError.from(signal.reason)));
      const timer = this.#clock.setTimer(
        Math.max(0, deadline - this.#clock.monotonic()),
        settledBy(() => reject(noLeader())),
      );
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.add(wake);
      this.#look();
    });
  }

  /** One timer for all that wait, who may be as many as there are nodes. */
  #look(): void {
    if (this.#looking) return;
    this.#looking = true;
    this.#clock.setTimer(pollMs, () => {
      this.#looking = false;
      if (this.#hasLeader()) for (const wake of [...this.#waiting]) wake();
      if (this.#waiting.size > 0) this.#look();
    });
  }

  close(): void {
    this.#missed?.cancel();
    this.#channel?.abort.abort(new SwarmError("Unavailable", "the leader changed: the call's outcome is unknown"));
    this.#channel?.client.close();
    this.#channel = undefined;
  }

  #channelTo(address: string): LeaderChannel {
    if (this.#channel?.client.address !== address) {
      this.close();
      const abort = new AbortController();
      this.#channel = { client: new RpcClient(address, this.#credentials), signal: abort.signal, abort };
    }
    return this.#channel!;
  }
}

function noLeader(): SwarmError {
  return new SwarmError(
    "Unavailable",
    "the swarm does not have a leader: more than half of the managers must be online; start those that are not",
  );
}
