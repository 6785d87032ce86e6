import { describe, expect, it } from "vitest";
import { longName } from "../commands.ts";
import { create } from "./create.ts";
import { update } from "./update.ts";

/** Flags of `docker service create` and `update` (Docker 28), without their dashes. Those of both: */
const common = `cap-add cap-drop credential-spec detach endpoint-mode entrypoint health-cmd health-interval health-retries
  health-start-interval health-start-period health-timeout hostname init isolation limit-cpu limit-memory limit-pids log-driver
  log-opt max-concurrent memory-swap memory-swappiness no-healthcheck no-resolve-image oom-score-adj quiet read-only replicas
  replicas-max-per-node reserve-cpu reserve-memory restart-condition restart-delay restart-max-attempts restart-window
  rollback-delay rollback-failure-action rollback-max-failure-ratio rollback-monitor rollback-order rollback-parallelism
  stop-grace-period stop-signal tty update-delay update-failure-action update-max-failure-ratio update-monitor update-order
  update-parallelism user with-registry-auth workdir`;
const onCreate = `config constraint container-label dns dns-option dns-search env env-file generic-resource group host label mode
  mount name network placement-pref publish secret sysctl ulimit`;
const onUpdate = `args config-add config-rm constraint-add constraint-rm container-label-add container-label-rm dns-add
  dns-option-add dns-option-rm dns-rm dns-search-add dns-search-rm env-add env-rm force generic-resource-add generic-resource-rm
  group-add group-rm host-add host-rm image label-add label-rm mount-add mount-rm network-add network-rm placement-pref-add
  placement-pref-rm publish-add publish-rm rollback secret-add secret-rm sysctl-add sysctl-rm ulimit-add ulimit-rm`;
/** Letters that docker takes for some of them. */
const letters = { create: "deehlpqtuw", update: "dqtuw" };

describe.each([
  ["create", create, `${common} ${onCreate}`],
  ["update", update, `${common} ${onUpdate}`],
] as const)("service %s", (name, command, docker) => {
  it("has every flag of docker's", () => {
    const own = new Set(command.flags.map(({ flags }) => longName(flags)));
    expect(docker.split(/\s+/).filter((flag) => !own.has(flag))).toEqual([]);
  });

  it("has docker's letters", () => {
    const own = command.flags.flatMap(({ flags }) => /^-(\w),/.exec(flags)?.[1] ?? []);
    expect([...letters[name]].filter((letter) => letter !== "h" && !own.includes(letter))).toEqual([]);
  });
});
