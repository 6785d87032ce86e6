import { Node, NodeDescription, NodeImage, timestampOfMs } from "@starling/api";
import { describe, expect, it } from "vitest";
import { formatList } from "../format/list.ts";
import { FanOut } from "./fan-out.ts";
import { nameMatches, parseImageFilters, passes } from "./filters.ts";
import { merge } from "./gather.ts";
import { formatSize, imageView, rowsOf } from "./view.ts";

const nowMs = Date.parse("2026-03-01T00:00:00Z");
const sha = (letter: string) => `sha256:${letter.repeat(64)}`;
const node = (name: string) => Node.create({ id: name, description: NodeDescription.create({ hostname: name }) });
const image = (letter: string, init: Partial<NodeImage> = {}) =>
  NodeImage.create({
    id: sha(letter),
    digest: sha(letter),
    references: [`${letter}:1`],
    created: timestampOfMs(nowMs - 2 * 86_400_000),
    size: 1_234_567,
    ...init,
  });

describe("image ls", () => {
  const outcomes = [
    { node: node("w1"), value: [image("a"), image("b", { references: [] })] },
    { node: node("w2"), value: [image("a", { references: [`a:1@${sha("c")}`, "other/name:2"], usedBy: ["web.1"] })] },
  ];

  it("shows a line for each name, and who holds it", () => {
    const view = imageView({ nowMs, digests: false, whole: false, nodeCount: 2 });
    expect(formatList(rowsOf(merge(outcomes)), view, {})).toBe(
      [
        "REPOSITORY   TAG      IMAGE ID       CREATED      SIZE     NODES",
        "<none>       <none>   bbbbbbbbbbbb   2 days ago   1.23MB   w1",
        "a            1        aaaaaaaaaaaa   2 days ago   1.23MB   all",
        "other/name   2        aaaaaaaaaaaa   2 days ago   1.23MB   all",
        "",
      ].join("\n"),
    );
    const [, row] = rowsOf(merge(outcomes));
    expect(imageView({ nowMs, digests: true, whole: true, nodeCount: 2 }).json(row!)).toMatchObject({
      digest: sha("c"),
      nodes: ["w1", "w2"],
      usedBy: ["web.1"],
    });
  });

  it("filters as docker does", () => {
    const images = merge(outcomes);
    const shown = (...texts: string[]) => {
      const allowed = ["dangling", "label", "label!", "reference", "until"] as const;
      const filters = parseImageFilters(texts, { allowed, nowMs });
      return images.filter((each) => passes(each, filters)).map(({ image: { id } }) => id.at(-1));
    };
    expect(shown("dangling=true")).toEqual(["b"]);
    expect(shown("dangling=false")).toEqual(["a"]);
    expect(shown("until=24h")).toEqual(["a", "b"]);
    expect(shown("until=72h")).toEqual([]);
    expect(shown("until=2026-02-28")).toEqual(["a", "b"]);
    expect(shown("label=x")).toEqual([]);
    expect(() => shown("since=x")).toThrow('--filter "since=x" is not KEY=VALUE with one of dangling, label');
    expect(() => shown("dangling=maybe")).toThrow("is not true or false");
    expect(() => shown("until=soon")).toThrow("--filter until");
  });

  it("takes patterns of names", () => {
    const name = { repository: "10.0.0.2:5000/team/app", tag: "1.2" };
    expect(nameMatches("10.0.0.2:5000/team/app", name)).toBe(true);
    expect(nameMatches("10.0.0.2:5000/*/app:1.*", name)).toBe(true);
    expect(nameMatches("*/app", name)).toBe(false);
    expect(nameMatches("app", name)).toBe(false);
  });

  it.each([
    [0, "0B"],
    [999, "999B"],
    [1_000, "1kB"],
    [77_812_345, "77.8MB"],
    [12e12, "12TB"],
  ])("writes %i bytes as %s", (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});

describe("one archive for several nodes", () => {
  it("is read once, in step, and goes on without who leaves or never reads", async () => {
    let read = 0;
    let isReturned = false;
    async function* source() {
      try {
        for (; read < 5; ) yield ++read;
      } finally {
        isReturned = true;
      }
    }
    const fanOut = new FanOut(source());
    const [slow, fast, gone] = [fanOut.reader(), fanOut.reader(), fanOut.reader()];
    const slowly = slow.chunks[Symbol.asyncIterator]();
    const fastly = fast.chunks[Symbol.asyncIterator]();
    expect((await fastly.next()).value).toBe(1);
    const second = fastly.next();
    expect((await slowly.next()).value).toBe(1);
    expect(read).toBe(1);
    gone.leave();
    expect((await slowly.next()).value).toBe(2);
    expect((await second).value).toBe(2);
    fast.leave();
    const rest: number[] = [];
    for (let next = await slowly.next(); !next.done; next = await slowly.next()) rest.push(next.value);
    expect(rest).toEqual([3, 4, 5]);
    slow.leave();
    expect(isReturned).toBe(true);
  });
});
