import { type Clock, type Millis, SwarmError } from "@starling/base";
import type { ImageResolver } from "@starling/control-api";
import { RegistryClient, type RegistrySettings, resolveImage } from "@starling/registry";

/** A client waits for the answer: a registry that takes longer is asked by the nodes alone. */
const patienceMs: Millis = 4_000;

/** Asks registries as the nodes do, with the same settings, but only once and not for long. */
export class RegistryResolver implements ImageResolver {
  readonly #client: RegistryClient;
  readonly #clock: Clock;

  constructor({ settings, clock }: { readonly settings: RegistrySettings; readonly clock: Clock }) {
    this.#client = new RegistryClient({ settings, clock });
    this.#clock = clock;
  }

  async resolve(image: string, { registryAuth, signal }: Parameters<ImageResolver["resolve"]>[1]) {
    const abort = new AbortController();
    const onAbort = () => abort.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const timer = this.#clock.setTimer(patienceMs, () => {
      abort.abort(new SwarmError("DeadlineExceeded", `its registry did not answer within ${patienceMs / 1000} s`));
    });
    // A credential helper can't be interrupted: what it still does is nobody's concern then.
    const aborted = new Promise<never>((_resolve, reject) => {
      abort.signal.addEventListener("abort", () => reject(abort.signal.reason), { once: true });
    });
    try {
      return await Promise.race([resolveImage(this.#client, image, { registryAuth, signal: abort.signal }), aborted]);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  close(): void {
    this.#client.close();
  }
}
