import { ListNodeImagesRequest, type NodeImage, NodeImages, parseImageReference, timestampMs } from "@starling/api";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import type { ImageResolver } from "@starling/control-api";
import type { NodeAsker } from "@starling/dispatcher";
import { displayName } from "@starling/registry";

/** A client waits: nodes that take longer have no say. */
const patienceMs: Millis = 2_000;

type Resolved = Awaited<ReturnType<ImageResolver["resolve"]>>;

/**
 * Asks the registry, and, where that does not tell, the managers' nodes: an image that was loaded on some of them gets its digest
 * into the spec, and so runs on all, which get it from one another. Workers have no say: what a name means on all nodes is not
 * for one of them to decide.
 */
export class LoadedImagesResolver implements ImageResolver {
  readonly #registry: ImageResolver;
  readonly #nodes: NodeAsker;
  readonly #isManager: (nodeId: string) => boolean;
  readonly #clock: Clock;

  constructor(options: {
    readonly registry: ImageResolver;
    readonly nodes: NodeAsker;
    readonly isManager: (nodeId: string) => boolean;
    readonly clock: Clock;
  }) {
    this.#registry = options.registry;
    this.#nodes = options.nodes;
    this.#isManager = options.isManager;
    this.#clock = options.clock;
  }

  async resolve(image: string, options: Parameters<ImageResolver["resolve"]>[1]): Promise<Resolved> {
    try {
      return await this.#registry.resolve(image, options);
    } catch (error) {
      options.signal.throwIfAborted();
      const loaded = loadedAs(image, await this.#ask(image, options.signal));
      if (loaded === undefined) throw error;
      return loaded;
    }
  }

  /** Images that managers' nodes hold under the name. Who does not answer in time is left out. */
  async #ask(image: string, signal: AbortSignal): Promise<readonly NodeImage[]> {
    const late = new AbortController();
    const onAbort = () => late.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const timer = this.#clock.setTimer(patienceMs, () => {
      late.abort(new SwarmError("DeadlineExceeded", `no answer within ${patienceMs} ms`));
    });
    const request = ListNodeImagesRequest.create({ images: [image] });
    const found: NodeImage[] = [];
    const asking = this.#nodes.connected.filter(this.#isManager).map(async (nodeId) => {
      for await (const each of this.#nodes.ask(nodeId, NodeImages.methods.list, request, late.signal)) found.push(each);
    });
    try {
      await Promise.allSettled(asking);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
    return found;
  }
}

/**
 * What a name means that archives gave some nodes: the image that was wanted or loaded last. Undefined when none was, or when they
 * are for several platforms: then every node uses its own.
 */
export function loadedAs(image: string, found: readonly NodeImage[]): Resolved | undefined {
  const reference = parseImageReference(image);
  const name = displayName(reference);
  if (reference.digest !== "") return undefined;
  const loaded = found.filter((each) => each.loaded && each.references.includes(name));
  if (new Set(loaded.map(({ platform }) => platform)).size !== 1) return undefined;
  const wantedAt = ({ lastUsed }: NodeImage) => (lastUsed === undefined ? 0 : timestampMs(lastUsed));
  const { digest, platform } = loaded.toSorted((a, b) => wantedAt(b) - wantedAt(a))[0]!;
  const [os = "", architecture = ""] = platform.split("/");
  return { digest, platforms: [{ os, architecture }] };
}
