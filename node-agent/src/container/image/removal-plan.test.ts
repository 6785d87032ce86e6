import { describe, expect, it } from "vitest";
import {
  type ImageFacts,
  imagesNamed,
  nameAndTag,
  planByAge,
  planForRoom,
  planPrune,
  planRemoval,
} from "./removal-plan.ts";

const sha = (letter: string) => `sha256:${letter.repeat(64)}`;
const image = (letter: string, facts: Partial<ImageFacts> = {}): ImageFacts => ({
  digest: sha(letter),
  id: `sha256:${letter.repeat(63)}0`,
  references: [`${letter}:1`],
  labels: {},
  createdMs: 1_000,
  usedAtMs: 1_000,
  loaded: false,
  running: [],
  ended: [],
  pinned: false,
  ...facts,
});
const digests = (images: readonly ImageFacts[]) => images.map(({ digest }) => digest);

describe("an image's name", () => {
  const images = [
    image("a", { references: ["nginx:1", `nginx:1@${sha("a")}`, "10.0.0.2:5000/team/app:latest"] }),
    image("b", { references: [`nginx@${sha("b")}`] }),
  ];
  it.each([
    ["nginx:1", ["a"]],
    ["docker.io/library/nginx:1", ["a"]],
    [`nginx@${sha("a")}`, ["a"]],
    [`nginx:1@${sha("b")}`, []],
    [`nginx@${sha("b")}`, ["b"]],
    ["nginx", []],
    ["10.0.0.2:5000/team/app", ["a"]],
    ["aaaa", ["a"]],
    ["sha256:bbbb", ["b"]],
    ["aaa", []],
    ["Not A Name", []],
  ])("%s", (word, letters) => {
    expect(digests(imagesNamed(images, word))).toEqual(letters.map(sha));
  });

  it("is shown with its tag, without its digest", () => {
    expect(nameAndTag(`nginx:1@${sha("a")}`)).toBe("nginx:1");
    expect(nameAndTag(`host:5000/nginx@${sha("a")}`)).toBe("host:5000/nginx");
    expect(nameAndTag("host:5000/nginx")).toBe("host:5000/nginx:latest");
  });
});

describe("removing an image", () => {
  const plan = (facts: Partial<ImageFacts>, word = "a:1", force = false) =>
    planRemoval([image("a", facts), image("b")], word, { force });

  it("takes a name away while it has another, else the image", () => {
    const references = ["a:1", `a:1@${sha("a")}`, "other:2"];
    expect(plan({ references, running: ["web.1"] })).toEqual({
      references: ["a:1", `a:1@${sha("a")}`],
      digests: [],
    });
    expect(plan({ references: ["a:1", `a:1@${sha("a")}`] })).toEqual({
      references: ["a:1", `a:1@${sha("a")}`],
      digests: [sha("a")],
    });
  });

  it.each([
    [
      "a task uses it",
      { running: ["web.1", "web.2", "web.3", "web.4"] },
      /in use by tasks web.1, web.2, web.3 and 1 more/,
    ],
    ["a pull relies on it", { pinned: true }, /is being pulled, loaded or saved: try again/],
  ])("is refused while %s, by force too", (_why, facts, error) => {
    expect(() => plan(facts)).toThrow(error);
    expect(() => plan(facts, "a:1", true)).toThrow(error);
  });

  it("is refused, but not by force, when an ended task was made from it, or its id stands for several names", () => {
    expect(() => plan({ ended: ["web.1"] })).toThrow("image a:1 was used by task web.1, ended: use --force");
    expect(plan({ ended: ["web.1"] }, "a:1", true).digests).toEqual([sha("a")]);
    const names = { references: ["a:1", "other:2"] };
    expect(() => plan(names, "aaaa")).toThrow("image aaaa has several names (a:1, other:2): use --force");
    expect(plan(names, "aaaa", true)).toEqual({ references: ["a:1", "other:2"], digests: [sha("a")] });
  });

  it("names what is not there or not clear", () => {
    expect(() => plan({}, "c:1")).toThrow("no such image: c:1");
    const same = [image("a", { id: sha("d") }), image("b", { id: sha("d") })];
    expect(() => planRemoval(same, "dddd", { force: true })).toThrow("image dddd is ambiguous");
  });
});

describe("pruning", () => {
  const images = [
    image("a", { references: [] }),
    image("b", { labels: { team: "x", keep: "" }, createdMs: 5_000 }),
    image("c", { running: ["web.1"] }),
    image("d", { pinned: true, references: [] }),
    image("e", { ended: ["web.2"], loaded: true, createdMs: undefined }),
  ];
  const prune = (filter: Partial<Parameters<typeof planPrune>[1]>) =>
    planPrune(images, { all: true, untilMs: undefined, labels: [], withoutLabels: [], ...filter }).digests;
  it.each([
    ["nameless ones only", { all: false }, ["a"]],
    ["all that nothing uses", {}, ["a", "b", "e"]],
    ["built before", { untilMs: 5_000 }, ["a"]],
    ["with a label", { labels: ["team=x"] }, ["b"]],
    ["with another value", { labels: ["team=y"] }, []],
    ["without a label", { withoutLabels: ["keep"] }, ["a", "e"]],
  ])("%s", (_what, filter, letters) => {
    expect(prune(filter)).toEqual(letters.map(sha));
  });
});

it("age and a short disk take neither what is in use nor what came in an archive, the oldest first", () => {
  const images = [
    image("a", { usedAtMs: 300 }),
    image("b", { usedAtMs: 200 }),
    image("c", { usedAtMs: 100, loaded: true }),
    image("d", { usedAtMs: 100, running: ["web.1"] }),
    image("e", { usedAtMs: 100, pinned: true }),
    image("f", { usedAtMs: 900 }),
  ];
  expect(planByAge(images, 500).digests).toEqual([sha("a"), sha("b")]);
  expect(planForRoom(images, 500)).toEqual({ references: ["b:1"], digests: [sha("b")] });
  expect(planForRoom(images.slice(2, 5), 500)).toEqual({ references: [], digests: [] });
});
