import {
  Annotations,
  durationOfMs,
  EndpointSpec,
  GlobalJob,
  GlobalService,
  isJob,
  NetworkAttachmentConfig,
  Placement,
  PlacementPreference,
  PortConfig,
  PortConfig_PublishMode,
  placementStrategyLabel,
  ReplicatedJob,
  ReplicatedService,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  RestartPolicy_RestartCondition,
  rebalanceLabels,
  ServiceSpec,
  SpreadOver,
  TaskSpec,
  UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
} from "@starling/api";
import type { Random } from "@starling/base";
import { behaviour } from "./agent.ts";

const { ANY, ON_FAILURE, NONE } = RestartPolicy_RestartCondition;
const { CONTINUE, ROLLBACK, PAUSE } = UpdateConfig_FailureAction;
const { STOP_FIRST, START_FIRST } = UpdateConfig_UpdateOrder;

/** Bytes that a reservation is a multiple of. */
export const memoryUnit = 2 ** 20;
export const zones = 3;
const firstHostPort = 8_000;

/** Specs of services as users write them, at random. */
export class Specs {
  readonly #random: Random;
  readonly #replicasMax: number;
  /** Large services are updated, and large jobs done, by many tasks at a time: the world is to come to rest within minutes. */
  readonly #atOnce: number;
  readonly #networks: readonly string[];

  constructor(options: {
    readonly random: Random;
    readonly replicasMax: number;
    /** Ids of overlay networks. */
    readonly networks: readonly string[];
  }) {
    this.#random = options.random;
    this.#replicasMax = options.replicasMax;
    this.#atOnce = options.replicasMax > 40 ? Math.ceil(options.replicasMax / 10) : 1;
    this.#networks = options.networks;
  }

  /** A new service's, of any mode. */
  any(name: string): ServiceSpec {
    const mode = this.#random();
    if (mode < 0.7) return this.service(name);
    const base = this.#base(name);
    if (mode < 0.8)
      return ServiceSpec.create({ ...base, global: GlobalService.create(), update: this.#updateConfig() });
    const task = TaskSpec.create({ ...base.task, restart: RestartPolicy.create({ condition: ON_FAILURE }) });
    if (mode < 0.92) {
      const totalCompletions = 1 + this.#upTo(this.#replicasMax);
      const replicatedJob = ReplicatedJob.create({ totalCompletions, maxConcurrent: this.#upTo(6) * this.#atOnce });
      return ServiceSpec.create({ ...base, task, replicatedJob });
    }
    return ServiceSpec.create({ ...base, task, globalJob: GlobalJob.create() });
  }

  /** A replicated service's. */
  service(name: string, replicas = this.#upTo(this.#replicasMax + 1)): ServiceSpec {
    const update = this.#updateConfig();
    return ServiceSpec.create({ ...this.#base(name), replicated: ReplicatedService.create({ replicas }), update });
  }

  /** Another number of replicas, or of completions. */
  scaled(spec: ServiceSpec): ServiceSpec {
    if (spec.replicated) {
      return { ...spec, replicated: ReplicatedService.create({ replicas: this.#upTo(this.#replicasMax + 1) }) };
    }
    if (!spec.replicatedJob) return spec;
    return { ...spec, replicatedJob: { ...spec.replicatedJob, totalCompletions: 1 + this.#upTo(this.#replicasMax) } };
  }

  /** Other constraints, preferences or limits of a node. */
  moved(spec: ServiceSpec): ServiceSpec {
    return { ...spec, task: { ...spec.task, placement: this.#placement() } };
  }

  /** Another image and all that goes with it. The update's order stays: what a check allows depends on it. */
  renewed(spec: ServiceSpec): ServiceSpec {
    const restart = isJob(spec) ? spec.task.restart : this.#restart();
    return {
      ...spec,
      annotations: { ...spec.annotations, labels: this.#labels() },
      task: { ...spec.task, forceUpdate: spec.task.forceUpdate + 1, restart, resources: this.#resources() },
      update: isJob(spec) ? undefined : this.#updateConfig(spec.update?.order),
    };
  }

  /** An image that works. */
  mended(spec: ServiceSpec): ServiceSpec {
    const task = { ...spec.task, forceUpdate: spec.task.forceUpdate + 1 };
    const own = Object.values<string>(behaviour);
    const labels = Object.fromEntries(Object.entries(spec.annotations.labels).filter(([key]) => !own.includes(key)));
    return { ...spec, annotations: { ...spec.annotations, labels }, task };
  }

  /** Other published ports. */
  republished(spec: ServiceSpec): ServiceSpec {
    return { ...spec, endpoint: this.#endpoint() };
  }

  #base(name: string): Pick<ServiceSpec, "annotations" | "task" | "endpoint"> {
    const network = this.#networks[this.#upTo(2 * this.#networks.length)];
    return {
      annotations: Annotations.create({ name, labels: this.#labels() }),
      task: TaskSpec.create({
        placement: this.#placement(),
        restart: this.#restart(),
        resources: this.#resources(),
        networks: network === undefined ? [] : [NetworkAttachmentConfig.create({ target: network })],
      }),
      endpoint: this.#endpoint(),
    };
  }

  #labels(): Record<string, string> {
    return { ...this.#behaviour(), ...this.#strategy() };
  }

  #behaviour(): Record<string, string> {
    const what = this.#random();
    if (what < 0.06) return { [behaviour.failing]: this.#random() < 0.5 ? "prepare" : "start" };
    return what < 0.1 ? { [behaviour.flaky]: "yes" } : {};
  }

  /** What differs from the cluster's word. */
  #strategy(): Record<string, string> {
    const what = this.#random();
    if (what < 0.15) return { [placementStrategyLabel]: "binpack" };
    if (what < 0.25) return { [rebalanceLabels.rebalance]: "off" };
    return what < 0.35 ? { [rebalanceLabels.rebalance]: "on" } : {};
  }

  #placement(): Placement | undefined {
    const what = this.#random();
    if (what < 0.5) return undefined;
    if (what < 0.6) return Placement.create({ maxReplicas: 1 + this.#upTo(4) });
    const spread = SpreadOver.create({ spreadDescriptor: "node.labels.zone" });
    if (what < 0.7) return Placement.create({ preferences: [PlacementPreference.create({ spread })] });
    const zone = `z${this.#upTo(zones)}`;
    return Placement.create({ constraints: [`node.labels.zone${what < 0.85 ? "==" : "!="}${zone}`] });
  }

  #resources(): ResourceRequirements | undefined {
    if (this.#random() < 0.5) return undefined;
    const reservations = Resources.create({ memoryBytes: (1 + this.#upTo(8)) * memoryUnit });
    return ResourceRequirements.create({ reservations });
  }

  #endpoint(): EndpointSpec | undefined {
    const what = this.#random();
    if (what < 0.25) return EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80 })] });
    if (what > 0.35) return undefined;
    // A few numbers, so that services want the same ones.
    const publishedPort = firstHostPort + this.#upTo(4);
    const port = PortConfig.create({ targetPort: 80, publishedPort, publishMode: PortConfig_PublishMode.HOST });
    return EndpointSpec.create({ ports: [port] });
  }

  #restart(): RestartPolicy | undefined {
    const what = this.#random();
    if (what < 0.4) return undefined;
    const delay = durationOfMs(100 + this.#upTo(5_000));
    if (what < 0.8) return RestartPolicy.create({ condition: ANY, delay });
    if (what < 0.9) return RestartPolicy.create({ condition: ON_FAILURE, delay, maxAttempts: 1 + this.#upTo(3) });
    return RestartPolicy.create({ condition: what < 0.95 ? ON_FAILURE : NONE, delay });
  }

  #updateConfig(order?: UpdateConfig_UpdateOrder): UpdateConfig {
    const actions = [CONTINUE, ROLLBACK, PAUSE] as const;
    return UpdateConfig.create({
      parallelism: this.#upTo(4) * this.#atOnce,
      delay: durationOfMs(this.#random() < 0.5 ? 0 : this.#upTo(2_000)),
      monitor: durationOfMs(this.#upTo(6_000)),
      order: order ?? (this.#random() < 0.4 ? START_FIRST : STOP_FIRST),
      failureAction: actions[this.#upTo(actions.length)]!,
      maxFailureRatio: this.#random() < 0.5 ? 0 : 0.5,
    });
  }

  #upTo(count: number): number {
    return Math.floor(this.#random() * count);
  }
}
