import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TaskState } from "@starling/api";
import { readShimState } from "@starling/native";
import { describe, expect, it } from "vitest";
import { Ground } from "./ground.ts";
import { KillStage, type Outcome, victims } from "./kills.ts";
import { leftovers } from "./leftovers.ts";
import { LoadStage } from "./load.ts";
import { SmallSwarmd } from "./small-swarmd.ts";

/** Of each kind of victim, so many steps apart: all of a life's are about 330. main.ts does every one. */
const killsEach = 10;
const stride = 30;
/** Play at once. */
const stages = 2;

describe("a task whose swarmd, shim or both are killed at a step of its life", () => {
  it.each(victims)("%s: it comes right, and nothing is left of it", async (victim) => {
    const outcomes: Outcome[] = [];
    const play = async (first: number) => {
      const stage = await KillStage.open();
      try {
        const begin = (index: number) => stage.begin({ victim, step: 12 + stride * index });
        let next = begin(first);
        for (let index = first; index < killsEach; index += stages) {
          const life = next;
          next = begin(index + stages);
          outcomes.push(await stage.play(life));
        }
        await stage.forget(next);
      } finally {
        await stage.close();
      }
    };
    await Promise.all(Array.from({ length: stages }, (_, first) => play(first)));
    expect(outcomes.filter(({ killedAt }) => killedAt !== undefined)).toHaveLength(killsEach);
    expect(outcomes.flatMap(({ problems, killedAt }) => problems.map((problem) => `${killedAt}: ${problem}`))).toEqual(
      [],
    );
  });
});

describe("a host that was restarted", () => {
  it("keeps no secret of its containers, says why they are gone, and runs others", async () => {
    const ground = await Ground.open();
    try {
      const task = ground.task("trap 'exit 0' TERM; sleep 1000 & wait");
      const before = new SmallSwarmd(ground.place, "first boot");
      await before.start();
      before.assign(task);
      await before.running(task.id);
      await before.stop();
      const bundle = join(ground.place.folder, "run/containers", task.id);
      writeFileSync(join(bundle, "files", "dependency-0"), "secret");
      // The power cut: a shim that is killed takes all processes of its container along.
      process.kill((await readShimState(bundle))!.shimPid, "SIGKILL");
      const after = new SmallSwarmd(ground.place, "second boot");
      await after.start();
      expect(existsSync(bundle)).toBe(false);
      const other = ground.task("trap 'exit 0' TERM; sleep 1000 & wait");
      after.assign(task, other);
      expect(await after.ended(task.id)).toMatchObject({
        state: TaskState.FAILED,
        err: "container is gone: the host was restarted, or it was removed by hand",
      });
      expect(await after.running(other.id)).toMatchObject({ state: TaskState.RUNNING });
      await after.removeAll();
      await after.stop();
      expect(await leftovers(ground.place)).toEqual([]);
    } finally {
      await ground.close();
    }
  });
});

describe("many containers", () => {
  it("20 at once and 60 in a row leave as many files, processes, mounts and cgroups as there were, and no more memory", async () => {
    const stage = await LoadStage.open();
    try {
      const before = await stage.counts();
      expect(before.left).toEqual([]);
      await stage.atOnce(20);
      await stage.inARow(60);
      const after = await stage.counts();
      expect(after.left).toEqual([]);
      expect(after.openFiles).toBeLessThanOrEqual(before.openFiles);
      expect(after.heapBytes - before.heapBytes).toBeLessThan(4 * 2 ** 20);
    } finally {
      await stage.close();
    }
  });
});
