import {
  Annotations,
  durationOfMs,
  EndpointSpec,
  GlobalJob,
  GlobalService,
  isJob,
  JobStatus,
  Placement,
  PortConfig,
  ReplicatedJob,
  ReplicatedService,
  RestartPolicy,
  RestartPolicy_RestartCondition,
  Service,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
} from "@starling/api";
import type { Random } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";
import { behaviour } from "./agent.ts";

/** How often a spec changes: once in so many steps of the world. */
const changesEvery = 5;

/** Users: services are created, scaled, updated, rolled back and removed. */
export class Workload {
  readonly #store: MemoryStore;
  readonly #random: Random;
  readonly #services: number;
  readonly #replicasMax: number;
  #made = 0;

  constructor(options: {
    readonly store: MemoryStore;
    readonly random: Random;
    readonly services: number;
    readonly replicasMax: number;
  }) {
    this.#store = options.store;
    this.#random = options.random;
    this.#services = options.services;
    this.#replicasMax = options.replicasMax;
  }

  async step(): Promise<string | undefined> {
    if (this.#random() * changesEvery >= 1) return undefined;
    const services = this.#store.view((tx) => tx.services.find(all));
    if (services.length < this.#services) return await this.#create();
    const service = services[this.#upTo(services.length)]!;
    const what = this.#random();
    if (what < 0.1) {
      await this.#store.update((tx) => tx.services.delete(service.id));
      return `${service.id} is removed`;
    }
    if (what < 0.45) return await this.#update(service, "is scaled", (spec) => this.#scaled(spec));
    if (what < 0.55) {
      return await this.#update(service, "gets other constraints", (spec) => ({
        ...spec,
        task: { ...spec.task, placement: this.#placement() },
      }));
    }
    return await this.#update(service, "is updated", (spec) => ({
      ...spec,
      annotations: { ...spec.annotations, labels: this.#labels() },
      task: { ...spec.task, forceUpdate: spec.task.forceUpdate + 1 },
      update: isJob(spec) ? undefined : this.#updateConfig(spec.update?.order),
    }));
  }

  async #create(): Promise<string> {
    const id = `s${this.#made++}`;
    const spec = this.#spec(id);
    const jobStatus = isJob(spec) ? JobStatus.create() : undefined;
    await this.#store.update((tx) =>
      tx.services.create(Service.create({ id, spec, specVersion: { index: 0 }, jobStatus })),
    );
    return `${id} is created`;
  }

  async #update(service: Service, what: string, change: (spec: ServiceSpec) => ServiceSpec): Promise<string> {
    await this.#store.update((tx) => {
      const present = tx.services.get(service.id)!;
      const { jobStatus } = present;
      tx.services.update({
        ...present,
        spec: change(present.spec),
        specVersion: present.meta.version,
        previousSpec: present.spec,
        previousSpecVersion: present.specVersion,
        updateStatus: undefined,
        jobStatus: jobStatus && { ...jobStatus, jobIteration: { index: jobStatus.jobIteration.index + 1 } },
      });
    });
    return `${service.id} ${what}`;
  }

  #spec(name: string): ServiceSpec {
    const mode = this.#random();
    const base = {
      annotations: Annotations.create({ name, labels: this.#labels() }),
      task: TaskSpec.create({ placement: this.#placement(), restart: this.#restart() }),
      endpoint:
        this.#random() < 0.3 ? EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80 })] }) : undefined,
    };
    const update = this.#updateConfig();
    if (mode < 0.65) {
      const replicated = ReplicatedService.create({ replicas: this.#upTo(this.#replicasMax + 1) });
      return ServiceSpec.create({ ...base, replicated, update });
    }
    if (mode < 0.8) return ServiceSpec.create({ ...base, global: GlobalService.create(), update });
    const task = TaskSpec.create({ ...base.task, restart: RestartPolicy.create({ condition: onFailure }) });
    if (mode < 0.9) {
      const totalCompletions = 1 + this.#upTo(this.#replicasMax);
      const replicatedJob = ReplicatedJob.create({ totalCompletions, maxConcurrent: 1 + this.#upTo(5) });
      return ServiceSpec.create({ ...base, task, replicatedJob });
    }
    return ServiceSpec.create({ ...base, task, globalJob: GlobalJob.create() });
  }

  #scaled(spec: ServiceSpec): ServiceSpec {
    return spec.replicated
      ? { ...spec, replicated: ReplicatedService.create({ replicas: this.#upTo(this.#replicasMax + 1) }) }
      : spec;
  }

  #labels(): Record<string, string> {
    const what = this.#random();
    if (what < 0.06) return { [behaviour.failing]: this.#random() < 0.5 ? "prepare" : "start" };
    return what < 0.12 ? { [behaviour.flaky]: "yes" } : {};
  }

  #placement(): Placement | undefined {
    const what = this.#random();
    if (what < 0.7) return undefined;
    return Placement.create({
      constraints: [what < 0.85 ? `node.labels.zone==z${this.#upTo(3)}` : `node.labels.zone!=z${this.#upTo(3)}`],
    });
  }

  #restart(): RestartPolicy | undefined {
    if (this.#random() < 0.5) return undefined;
    return RestartPolicy.create({ condition: any, delay: durationOfMs(100 + this.#upTo(5_000)) });
  }

  #updateConfig(order?: UpdateConfig_UpdateOrder): UpdateConfig {
    const actions = [UpdateConfig_FailureAction.CONTINUE, UpdateConfig_FailureAction.ROLLBACK] as const;
    return UpdateConfig.create({
      parallelism: this.#upTo(4),
      delay: durationOfMs(this.#random() < 0.5 ? 0 : this.#upTo(2_000)),
      monitor: durationOfMs(this.#upTo(6_000)),
      order:
        order ?? (this.#random() < 0.4 ? UpdateConfig_UpdateOrder.START_FIRST : UpdateConfig_UpdateOrder.STOP_FIRST),
      failureAction: actions[this.#upTo(actions.length)]!,
      maxFailureRatio: this.#random() < 0.5 ? 0 : 0.5,
    });
  }

  #upTo(count: number): number {
    return Math.floor(this.#random() * count);
  }
}

const { ANY: any, ON_FAILURE: onFailure } = RestartPolicy_RestartCondition;
