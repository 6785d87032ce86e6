import { Task } from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { Dependencies } from "../dependencies/dependencies.ts";
import { noNetwork } from "../exec/network-attacher.ts";
import { ContainerExecutor } from "./executor.ts";

/** Stands for a swarmd that is killed: starts the task of its arguments (folder, task in base64), says so, and waits. */
const [folder, encoded] = process.argv.slice(2);
const executor = new ContainerExecutor({
  stateDir: `${folder}/state`,
  runDir: `${folder}/run`,
  log: nullLogger,
  clock: systemClock,
  hostname: "host1",
  network: noNetwork,
  dependencies: new Dependencies(),
});
const { signal } = new AbortController();
const controller = executor.controller(Task.decode(Buffer.from(encoded!, "base64")));
await controller.prepare(signal);
await controller.start(signal);
process.stdout.write("started\n");
await controller.wait(signal);
