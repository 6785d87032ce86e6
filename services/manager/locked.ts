import { lockedMessage, registry, type ServiceTable, Unlock, UnlockResponse } from "@starling/api";
import { type Handlers, listenLocal, serve, shutDown } from "@starling/api/rpc";
import { type Clock, type Logger, SwarmError } from "@starling/base";

/** How long the answer to the right key may take to get out before the socket closes. */
const graceMs = 1_000;

/** A manager that runs: there is nothing to unlock. */
export const unlockedHandlers: Handlers<typeof Unlock> = {
  unlock: async () => {
    throw new SwarmError("FailedPrecondition", "swarm is not locked: this manager runs");
  },
};

/**
 * Stands in for a manager whose keys are locked: on the local socket at `path` it answers `Unlock`, and says to every other
 * call what is needed. Resolves with what `open` gives for the first key that it takes, once the socket is closed again;
 * rejects with the signal's reason. `open` throws InvalidArgument for a wrong key.
 */
export async function awaitUnlock<T>(options: {
  readonly path: string;
  readonly open: (unlockKey: Uint8Array) => Promise<T>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}): Promise<T> {
  const { path, open, clock, log, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const unlocking: Handlers<typeof Unlock> = {
    async unlock({ unlockKey }) {
      resolve(await open(unlockKey));
      return UnlockResponse.create();
    },
  };
  const others = Object.values(registry.services).filter(({ name }) => name !== Unlock.name);
  const services = [serve(Unlock, unlocking), ...others.map((table) => serve(table, refusing(table)))];
  const server = await listenLocal(path, services, { authorize: "local", organization: () => "", log });
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  log.warn(lockedMessage, { socket: path });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    await shutDown(server, { clock, graceMs });
  }
}

function refusing(table: ServiceTable): Handlers<ServiceTable> {
  const locked = () => new SwarmError("FailedPrecondition", lockedMessage);
  const unary = async () => {
    throw locked();
  };
  // biome-ignore lint/correctness/useYield: it refuses before it has anything to say
  const stream = async function* () {
    throw locked();
  };
  const methods = Object.entries(table.methods);
  return Object.fromEntries(methods.map(([name, { responseStream }]) => [name, responseStream ? stream : unary]));
}
