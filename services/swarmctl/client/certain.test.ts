import { Meta } from "@starling/api";
import { FakeClock, SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { changeOnce, createOnce, isUncertain, readSurely, removeOnce } from "./certain.ts";

const lost = () => new SwarmError("Unavailable", "raft leadership is lost: outcome unknown");
const refused = () => new SwarmError("InvalidArgument", "no");
const surroundings = () => {
  const clock = new FakeClock();
  // Pauses pass at once.
  return { clock: { ...bound(clock), sleep: async (ms: number) => void (await clock.advance(ms)) }, signal: never };
};
const never = new AbortController().signal;
const bound = (clock: FakeClock) => ({
  now: () => clock.now(),
  monotonic: () => clock.monotonic(),
  setTimer: clock.setTimer.bind(clock),
});

interface Thing {
  readonly meta: Meta;
  readonly value: number;
}

/** A manager that keeps a thing, and loses answers before or after it wrote, as told. */
function manager(plan: readonly ("ok" | "lost-before" | "lost-after" | "refuse")[]) {
  let thing: Thing = { meta: Meta.create({ version: { index: 1 } }), value: 0 };
  const left = [...plan];
  let writes = 0;
  return {
    get writes() {
      return writes;
    },
    read: async () => thing,
    write: async (version: number, value: number): Promise<Thing> => {
      const fate = left.shift() ?? "ok";
      if (fate === "refuse") throw refused();
      if (fate === "lost-before") throw lost();
      if (version !== thing.meta.version.index) throw new SwarmError("FailedPrecondition", "update out of sequence");
      writes++;
      thing = { meta: Meta.create({ version: { index: version + 1 } }), value };
      if (fate === "lost-after") throw lost();
      return thing;
    },
  };
}

describe("a change whose answer is lost", () => {
  const add = (store: ReturnType<typeof manager>) =>
    changeOnce(surroundings(), {
      read: store.read,
      write: (present) => store.write(present.meta.version.index, present.value + 1),
      isDone: (present, base) => present.value === base.value + 1,
    });

  it.each([
    [["lost-before"]],
    [["lost-after"]],
    [["lost-before", "lost-before", "lost-after"]],
    [["lost-after", "lost-after"]],
  ] as const)("happens once: %j", async (plan) => {
    const store = manager(plan);
    expect((await add(store)).value).toBe(1);
    expect(store.writes).toBe(1);
  });

  it("that is refused afterwards is a failure", async () => {
    await expect(add(manager(["lost-before", "refuse"]))).rejects.toMatchObject({ code: "InvalidArgument" });
  });

  it("again and again fails after a while, and says what is not known", async () => {
    const store = manager(Array<"lost-before">(1_000).fill("lost-before"));
    await expect(add(store)).rejects.toThrow(/outcome unknown \(whether it took effect is not known/);
  });
});

describe("a creation whose answer is lost", () => {
  const create = (fates: readonly ("ok" | "lost-before" | "lost-after")[], foreign = false) => {
    const names = new Map<string, string>(foreign ? [["web", "theirs"]] : []);
    const left = [...fates];
    let made = 0;
    return createOnce(surroundings(), {
      create: async () => {
        const fate = left.shift() ?? "ok";
        if (fate === "lost-before") throw lost();
        if (names.has("web")) throw new SwarmError("AlreadyExists", "name conflicts");
        names.set("web", `ours-${++made}`);
        if (fate === "lost-after") throw lost();
        return names.get("web")!;
      },
      find: async () => names.get("web"),
      isOurs: (found) => found.startsWith("ours"),
    });
  };

  it("is found by its name, or made again", async () => {
    expect(await create(["lost-after"])).toBe("ours-1");
    expect(await create(["lost-before"])).toBe("ours-1");
  });

  it("fails truly when the name is another's", async () => {
    await expect(create([], true)).rejects.toMatchObject({ code: "AlreadyExists" });
    await expect(create(["lost-before"], true)).rejects.toMatchObject({ code: "AlreadyExists" });
  });
});

it("a removal whose answer is lost is made again, until the object is gone", async () => {
  let left = 3;
  await removeOnce(surroundings(), async () => {
    if (--left > 0) throw lost();
    throw new SwarmError("NotFound", "not found");
  });
  expect(left).toBe(0);
  const remove = async () => {
    throw new SwarmError("NotFound", "not found");
  };
  await expect(removeOnce(surroundings(), remove)).rejects.toMatchObject({ code: "NotFound" });
});

it("a read is made again", async () => {
  let left = 3;
  const value = await readSurely(surroundings(), async () => {
    if (--left > 0) throw lost();
    return "value";
  });
  expect(value).toBe("value");
});

it("what was never sent is no uncertainty", () => {
  expect(isUncertain(new SwarmError("Unavailable", "the swarm does not have a leader: …"))).toBe(false);
  expect(isUncertain(new SwarmError("Unavailable", "cannot reach the Swarm manager at /x: no such socket"))).toBe(
    false,
  );
  expect(isUncertain(new SwarmError("Unavailable", "the connection to the Swarm manager broke"))).toBe(true);
});
