/** `npm run demo [-- --keep]`: the main job on five hosts and a registry, on this machine. */
import { parseArgs } from "node:util";
import { exec, TestCluster } from "../cluster/index.ts";
import { MainJob } from "./main-job.ts";
import { Report } from "./report.ts";

const name = "demo";
const { values } = parseArgs({ options: { keep: { type: "boolean", default: false } } });

const report = new Report();
let cluster: TestCluster | undefined;
try {
  await report.step("check the host", async () => {
    const { code, stdout, stderr } = await exec(["sh", "deploy/check-host.sh"]);
    process.stdout.write(stdout);
    if (code !== 0) throw new Error(`this host lacks something that is required:\n${stderr}`);
    return undefined;
  });
  await report.step("hosts m1 m2 m3 w1 w2 and reg", async () => {
    await TestCluster.remove(name); // Whatever an earlier run left, kept or killed.
    cluster = await TestCluster.create({ name, hosts: ["reg", "m1", "m2", "m3", "w1", "w2"], keep: values.keep });
    return cluster
      .hosts()
      .map((host) => `${host.name}=${host.address}`)
      .join(" ");
  });
  await new MainJob(cluster!, report).run();
} catch (thrown) {
  console.error(`\ndemo: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  process.exitCode = 1;
} finally {
  report.print();
  if (values.keep && cluster) {
    const run = `npm run cluster -- --name ${name}`;
    console.log(`\nThe cluster stays up. Talk to it: ${run} exec m1 swarmctl node ls`);
    console.log(`Logs: ${cluster.folder}/HOST.swarmd.log   End it: ${run} down`);
  } else await cluster?.destroy();
}
