import { describe, expect, it } from "vitest";
import { stickyParting, stickyParts, stickyTask } from "./sticky.ts";

const tasks = Array.from({ length: 10 }, (_, n) => `10.0.0.${n + 2}`);
const clients = Array.from({ length: 2_000 }, (_, n) => `10.9.${n >> 8}.${n & 255}`);

describe("clients that stick to tasks", () => {
  it("are spread over all of them about evenly", () => {
    for (const chosen of [stickyParting(tasks), clients.map((client) => stickyTask(client, tasks)!)]) {
      const each = tasks.map(
        (task) => chosen.filter((other) => other === task).length * (tasks.length / chosen.length),
      );
      expect(Math.min(...each)).toBeGreaterThan(0.7);
      expect(Math.max(...each)).toBeLessThan(1.3);
    }
  });

  it("stay where they are when another task goes or comes, whatever the order that tasks are told in", () => {
    const gone = tasks[3]!;
    const fewer = tasks.filter((task) => task !== gone).reverse();
    for (const client of clients) {
      const task = stickyTask(client, tasks);
      if (task !== gone) expect(stickyTask(client, fewer)).toBe(task);
    }
    const parting = stickyParting(fewer);
    const moved = stickyParting(tasks).filter((task, part) => task !== parting[part]);
    expect(new Set(moved)).toEqual(new Set([gone]));
    expect(moved.length).toBeLessThan(stickyParts / 5);
  });

  it("go nowhere without tasks", () => {
    expect(stickyTask("10.0.0.1", [])).toBeUndefined();
    expect(stickyParting([])).toEqual([]);
  });
});
