import {
  LoadedNodeImage,
  type LoadNodeImagesRequest,
  NodeImage,
  type NodeImages,
  RemovedNodeImages,
  SaveNodeImagesResponse,
  timestampMs,
  timestampOfMs,
} from "@starling/api";
import { SwarmError } from "@starling/base";
import { configPlatform } from "@starling/registry";
import type { NodeHandlers } from "../../calls/node-service.ts";
import type { ImageCollector, ListedImage, Removed } from "./image-collector.ts";
import { type LoaderContext, loadImages } from "./image-loader.ts";
import { saveImages } from "./image-saver.ts";
import { imagesNamed, nameAndTag, planPrune, planRemoval } from "./removal-plan.ts";

export interface NodeImagesContext extends LoaderContext {
  readonly collector: ImageCollector;
  /** Resolves when the node's folders are there. */
  open(): Promise<void>;
}

/** Bytes of an archive in one message. */
const pieceBytes = 256 << 10;

/** Answers `starling.v1.NodeImages`, which managers ask of this node. */
export function nodeImagesHandlers(context: NodeImagesContext): NodeHandlers<typeof NodeImages> {
  const { collector, store } = context;
  const listed = async () => {
    await context.open();
    return collector.images();
  };
  const removed = ({ references, digests, freedBytes }: Removed) =>
    RemovedNodeImages.create({ references, digests, freedBytes });
  return {
    async *list({ images: words, withConfig }) {
      const all = await listed();
      const wanted = words.length === 0 ? all : [...new Set(words.flatMap((word) => imagesNamed(all, word)))];
      for (const image of wanted) yield await describe(image, context, withConfig);
    },
    async *load(requests, signal) {
      await context.open();
      const pieces = requests[Symbol.asyncIterator]();
      const first = await pieces.next();
      if (first.done) throw new SwarmError("InvalidArgument", "the archive is empty");
      const { reference } = first.value;
      for await (const image of loadImages(dataOf(first.value, pieces), context, { reference, signal })) {
        yield LoadedNodeImage.create(image);
      }
    },
    async *save({ images: words }) {
      const all = await listed();
      const wanted = words.map((word) => {
        const found = imagesNamed(all, word);
        if (found.length === 0) throw new SwarmError("NotFound", `no such image: ${word}`);
        if (found.length > 1)
          throw new SwarmError("InvalidArgument", `image ${word} is ambiguous: give more of its id`);
        const image = found[0]!;
        const named = image.references.filter(
          (reference) => imagesNamed([{ ...image, references: [reference], id: "", digest: "" }], word).length > 0,
        );
        return {
          digest: image.digest,
          references: [...new Set((named.length > 0 ? named : image.references).map(nameAndTag))].filter((name) =>
            /:[^/]+$/.test(name),
          ),
        };
      });
      yield* pieced(saveImages(wanted, store));
    },
    async remove({ image, force }) {
      await context.open();
      return removed(await collector.remove((images) => planRemoval(images, image, { force }), { reason: "asked" }));
    },
    async prune({ all, until, labels, withoutLabels }) {
      await context.open();
      const untilMs = until === undefined ? undefined : timestampMs(until);
      const filter = { all, untilMs, labels, withoutLabels };
      return removed(await collector.remove((images) => planPrune(images, filter), { reason: "asked" }));
    },
  };
}

async function* dataOf(
  first: LoadNodeImagesRequest,
  rest: AsyncIterator<LoadNodeImagesRequest>,
): AsyncGenerator<Uint8Array> {
  yield first.data;
  for (;;) {
    const { done, value } = await rest.next();
    if (done) return;
    yield value.data;
  }
}

/** Small pieces put together: a message for each header would cost more than it carries. */
async function* pieced(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<SaveNodeImagesResponse> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    held.push(chunk);
    bytes += chunk.length;
    if (bytes < pieceBytes) continue;
    yield SaveNodeImagesResponse.create({ data: Buffer.concat(held) });
    held = [];
    bytes = 0;
  }
  if (bytes > 0) yield SaveNodeImagesResponse.create({ data: Buffer.concat(held) });
}

async function describe(image: ListedImage, { store }: NodeImagesContext, withConfig: boolean): Promise<NodeImage> {
  const { os, architecture, variant } = configPlatform(image.configText);
  const sizes = await Promise.all(image.record.layers.map(async ({ blob }) => (await store.blobs.size(blob)) ?? 0));
  return NodeImage.create({
    id: image.id,
    digest: image.digest,
    references: image.references,
    created: image.createdMs === undefined ? undefined : timestampOfMs(image.createdMs),
    size: sizes.reduce((sum, size) => sum + size, 0),
    labels: image.labels,
    platform: [os, architecture, variant].filter(Boolean).join("/"),
    usedBy: image.running,
    keptBy: image.ended,
    loaded: image.loaded,
    lastUsed: timestampOfMs(image.usedAtMs),
    config: withConfig ? Buffer.from(image.configText) : new Uint8Array(0),
  });
}
