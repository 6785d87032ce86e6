import { copyFileSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Task, TaskState, TaskStatus } from "@starling/api";
import { nullLogger } from "@starling/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TaskDb } from "./task-db.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "starling-task-db-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const task = (id: string, state: TaskState) => Task.create({ id, status: TaskStatus.create({ state }) });
const open = () => new TaskDb(dir, nullLogger);

describe("the task database", () => {
  it("gives back the last of each task, and nothing of deleted ones", async () => {
    const db = open();
    for (const state of [TaskState.ASSIGNED, TaskState.PREPARING, TaskState.RUNNING]) db.put(task("t1", state));
    db.put(task("t2", TaskState.RUNNING));
    db.delete("t2");
    await db.flush();
    expect(await open().load()).toEqual([task("t1", TaskState.RUNNING)]);
  });

  it("drops files that are damaged or were being written, and goes on with the one before", async () => {
    const db = open();
    db.put(task("t1", TaskState.RUNNING));
    await db.flush();
    for (const [name, content] of [
      ["empty.1", ""],
      ["t1.2", "starling-task 1 00000000\nxx"],
    ] as const) {
      writeFileSync(join(dir, name), content);
    }
    const reopened = open();
    expect(await reopened.load()).toEqual([task("t1", TaskState.RUNNING)]);
    expect(readdirSync(dir)).toEqual(["t1.1"]);
    reopened.put(task("t1", TaskState.COMPLETE));
    await reopened.flush();
    expect(await open().load()).toEqual([task("t1", TaskState.COMPLETE)]);
  });

  it("keeps the newest where swarmd ended before it removed the one before", async () => {
    const db = open();
    db.put(task("t1", TaskState.RUNNING));
    await db.flush();
    copyFileSync(join(dir, "t1.1"), join(dir, "t1.9"));
    db.put(task("t1", TaskState.FAILED));
    await db.flush();
    renameSync(join(dir, "t1.2"), join(dir, "t1.10"));
    expect(await open().load()).toEqual([task("t1", TaskState.FAILED)]);
    expect(readdirSync(dir)).toEqual(["t1.10"]);
  });

  it("is refused with a clear word when a newer swarmd wrote it", async () => {
    writeFileSync(join(dir, "t1.1"), "starling-task 2 00000000\n");
    await expect(open().load()).rejects.toThrow(/task file of version 2, this swarmd reads up to 1/);
    expect(readdirSync(dir)).toEqual(["t1.1"]);
  });
});
