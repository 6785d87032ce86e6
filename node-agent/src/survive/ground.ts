import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerSpec, type Mount, Task, TaskSpec, TaskState } from "@starling/api";
import { newId } from "@starling/base";
import { TestRegistry } from "../container/test-registry.ts";
import type { Place } from "./small-swarmd.ts";

/** A place for swarmds of a test, a registry with one image, and tasks of it. */
export class Ground {
  readonly place: Place;
  readonly #registry: TestRegistry;

  private constructor(place: Place, registry: TestRegistry) {
    this.place = place;
    this.#registry = registry;
  }

  static async open(): Promise<Ground> {
    const folder = mkdtempSync(join(tmpdir(), "starling-survive-"));
    const registry = await TestRegistry.start({ Volumes: { "/work": {} } });
    return new Ground({ folder, cgroupParent: `/starling-survive-${newId()}` }, registry);
  }

  async close(): Promise<void> {
    await this.#registry.stop();
    rmSync(this.place.folder, { recursive: true, force: true });
  }

  /** A task that is to run `script` in the image's shell. Its image gives it an unnamed volume. */
  task(script: string, mounts: (id: string) => readonly Mount[] = () => []): Task {
    const id = newId();
    const container = ContainerSpec.create({
      image: this.#registry.image,
      command: ["sh", "-c", script],
      mounts: [...mounts(id)],
      // A shell that is told to end before it has set its trap does not hear it.
      stopGracePeriod: { seconds: 0, nanos: 5e8 },
    });
    const spec = TaskSpec.create({ container });
    return Task.create({ id, nodeId: "n1", desiredState: TaskState.RUNNING, spec });
  }
}
