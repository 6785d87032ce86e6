import { NodeImage, timestampOfMs } from "@starling/api";
import { FakeClock, SwarmError } from "@starling/base";
import { expect, it } from "vitest";
import { LoadedImagesResolver, loadedAs } from "./loaded-images.ts";

const digestOf = (letter: string) => `sha256:${letter.repeat(64)}`;
const held = (letter: string, init: Partial<NodeImage> = {}) =>
  NodeImage.create({
    digest: digestOf(letter),
    references: ["app:1"],
    platform: "linux/amd64",
    loaded: true,
    lastUsed: timestampOfMs(1_000),
    ...init,
  });
const { signal } = new AbortController();

it("a name that archives gave means the image that was loaded last", () => {
  const newer = held("b", { lastUsed: timestampOfMs(2_000) });
  expect(loadedAs("app:1", [held("a"), newer, held("a")])).toEqual({
    digest: digestOf("b"),
    platforms: [{ os: "linux", architecture: "amd64" }],
  });
  expect(loadedAs("docker.io/library/app:1", [held("a")])?.digest).toBe(digestOf("a"));
});

it("it means nothing to all when it was pulled, has another name, or differs by platform", () => {
  expect(loadedAs("app:1", [held("a", { loaded: false }), held("b", { references: ["app:2"] })])).toBeUndefined();
  expect(loadedAs("app:1", [held("a"), held("b", { platform: "linux/arm64" })])).toBeUndefined();
  expect(loadedAs(`app:1@${digestOf("a")}`, [held("a")])).toBeUndefined();
});

it("managers' nodes are asked when the registry does not tell; workers, and who keeps silent, have no say", async () => {
  const clock = new FakeClock();
  const registry = {
    async resolve(): Promise<never> {
      throw new SwarmError("Unavailable", "registry app: away");
    },
  };
  const silent = Promise.withResolvers<void>();
  const nodes = {
    connected: ["n1", "n2", "worker"],
    async *ask<Res>(nodeId: string, _method: unknown, _request: unknown, until: AbortSignal): AsyncGenerator<Res> {
      if (nodeId === "n1") yield held("a") as Res;
      else if (nodeId === "worker") yield held("b", { lastUsed: timestampOfMs(9_000) }) as Res;
      else {
        until.addEventListener("abort", () => silent.reject(until.reason), { once: true });
        await silent.promise;
      }
    },
  };
  const resolver = new LoadedImagesResolver({ registry, nodes, isManager: (nodeId) => nodeId !== "worker", clock });
  const resolved = resolver.resolve("app:1", { registryAuth: "", signal });
  await clock.advance(2_000);
  expect((await resolved).digest).toBe(digestOf("a"));
  const other = resolver.resolve("other:1", { registryAuth: "", signal });
  other.catch(() => undefined); // Awaited below.
  await clock.advance(2_000);
  await expect(other).rejects.toThrow("registry app: away");
});
