import {
  type Control,
  CreateServiceResponse,
  GetServiceResponse,
  isJob,
  JobStatus,
  ListServiceStatusesResponse,
  ListServicesResponse,
  RemoveServiceResponse,
  resolveImageMetadata,
  runtimeName,
  Service,
  type ServiceSpec,
  sameValue,
  type Timestamp,
  timestampOfMs,
  UpdateServiceRequest_Rollback,
  UpdateServiceResponse,
  UpdateStatus,
  UpdateStatus_UpdateState,
  type Version,
  withServiceDefaults,
} from "@starling/api";
import type { CallContext, Handlers } from "@starling/api/rpc";
import { required, validateServiceSpec } from "@starling/api/validation";
import { newId, SwarmError } from "@starling/base";
import { all, byName, byService, type ReadTx } from "@starling/store";
import { candidates } from "./candidates.ts";
import type { ControlDeps } from "./deps.ts";
import { found, nameTaken } from "./errors.ts";
import { isAmong, passesEach } from "./filters.ts";
import { checkOwnPorts, checkPortClash } from "./ports.ts";
import { checkReferences } from "./references.ts";
import { imageToResolve, withResolvedImage, withUnresolvedImage } from "./resolved-image.ts";
import { serviceStatus } from "./service-status.ts";

type ServiceMethods =
  | "getService"
  | "listServices"
  | "listServiceStatuses"
  | "createService"
  | "updateService"
  | "removeService";

export function serviceHandlers({
  store,
  clock,
  log,
  raft,
  images,
}: ControlDeps): Pick<Handlers<typeof Control>, ServiceMethods> {
  const managerAddresses = () => raft?.members().map(({ addr }) => addr) ?? [];

  /** With the image's digest and platforms, if its registry tells them in time; what it doesn't, the tasks' nodes will meet. */
  async function resolved(spec: ServiceSpec, present: ServiceSpec | undefined, context: CallContext) {
    if (images === undefined) return spec;
    const image = imageToResolve(spec, present);
    if (image === undefined) return spec;
    if (context.metadata.get(resolveImageMetadata)[0] === "false") return withUnresolvedImage(spec, present);
    const registryAuth = spec.task.container?.pullOptions?.registryAuth ?? "";
    try {
      return withResolvedImage(spec, await images.resolve(image, { registryAuth, signal: context.signal }));
    } catch (thrown) {
      context.signal.throwIfAborted();
      const { name } = spec.annotations;
      log.warn("image not resolved", { "service.name": name, image, error: SwarmError.from(thrown).message });
      return withUnresolvedImage(spec, present);
    }
  }

  return {
    async getService({ serviceId, insertDefaults }) {
      required(serviceId, "service id");
      const service = found(await store.read((tx) => tx.services.get(serviceId)), "service", serviceId);
      return GetServiceResponse.create({
        service: insertDefaults ? { ...service, spec: withServiceDefaults(service.spec) } : service,
      });
    },

    async listServices({ filters }) {
      const services = await store.read((tx) => tx.services.find(candidates(filters)));
      return ListServicesResponse.create({
        services: services.filter(
          ({ id, spec }) =>
            passesEach(filters, { id, name: spec.annotations.name, labels: spec.annotations.labels }) &&
            isAmong(runtimeName(spec.task) ?? "", filters?.runtimes ?? []),
        ),
      });
    },

    async listServiceStatuses({ services }) {
      const statuses = await store.read((tx) =>
        services.map((id) => serviceStatus(id, tx.services.get(id), tx.tasks.find(byService(id)))),
      );
      return ListServiceStatusesResponse.create({ statuses });
    },

    async createService(request, context) {
      const given = validateServiceSpec(request.spec);
      checkOwnPorts(given, managerAddresses());
      // What is refused is refused before a registry is asked, and again in the transaction.
      store.view((tx) => checkNew(tx, given));
      const spec = await resolved(given, undefined, context);
      const now = timestampOfMs(clock.now());
      const service = Service.create({
        id: newId(),
        spec,
        specVersion: { index: 0 },
        jobStatus: isJob(spec) ? JobStatus.create({ lastExecution: now }) : undefined,
      });
      const created = await store.update((tx) => {
        checkNew(tx, spec);
        return tx.services.create(service);
      });
      log.info("service created", { "service.id": service.id, "service.name": spec.annotations.name });
      return CreateServiceResponse.create({ service: created });
    },

    async updateService(request, context) {
      const { serviceId, rollback } = request;
      required(serviceId, "service id");
      const version = required(request.serviceVersion, "service version");
      const toPrevious = rollback === UpdateServiceRequest_Rollback.PREVIOUS;
      const given = validateServiceSpec(request.spec);
      checkOwnPorts(given, managerAddresses());
      const present = store.view((tx) => tx.services.get(serviceId));
      const spec = toPrevious || present === undefined ? given : await resolved(given, present.spec, context);
      const updated = await store.update((tx) => {
        const service = found(tx.services.get(serviceId), "service", serviceId);
        checkChangeAllowed(tx, service, spec);
        const now = timestampOfMs(clock.now());
        const next = toPrevious ? rolledBack(service, now) : respecified(service, spec, version);
        if (toPrevious) checkChangeAllowed(tx, service, next.spec);
        return tx.services.update({
          ...next,
          meta: { ...service.meta, version },
          jobStatus: service.jobStatus && {
            ...service.jobStatus,
            jobIteration: { index: service.jobStatus.jobIteration.index + 1 },
            lastExecution: now,
          },
        });
      });
      log.info(toPrevious ? "service rolls back" : "service updated", {
        "service.id": serviceId,
        "service.name": updated.spec.annotations.name,
      });
      return UpdateServiceResponse.create({ service: updated });
    },

    /** Only deletes the object: the orchestrator sees it go and ends its tasks. */
    async removeService({ serviceId }) {
      required(serviceId, "service id");
      await store.update((tx) => {
        found(tx.services.get(serviceId), "service", serviceId);
        tx.services.delete(serviceId);
      });
      log.info("service removed", { "service.id": serviceId });
      return RemoveServiceResponse.create();
    },
  };
}

/** What must hold before a service of that spec is created. */
function checkNew(tx: ReadTx, spec: ServiceSpec): void {
  const { name } = spec.annotations;
  const holder = tx.services.find(byName(name))[0];
  if (holder) throw nameTaken("service", name, holder.id);
  checkReferences(tx, spec);
  checkPortClash(spec, tx.services.find(all));
}

/** What must hold between the present service and the spec that shall replace its own. */
function checkChangeAllowed(tx: ReadTx, service: Service, spec: ServiceSpec): void {
  const unimplemented = (message: string) => new SwarmError("Unimplemented", message);
  if (!sameValue(spec.networks, service.spec.networks) && sameValue(spec.task.networks, service.spec.task.networks)) {
    throw unimplemented("networks must be migrated to TaskSpec before being changed");
  }
  if (modeOf(service.spec) !== modeOf(spec)) {
    throw unimplemented("service mode change is not allowed: remove the service and create it anew");
  }
  if (service.spec.annotations.name !== spec.annotations.name) {
    throw unimplemented(
      `renaming services is not supported: keep the name "${service.spec.annotations.name}" or create another service`,
    );
  }
  checkReferences(tx, spec);
  if (!sameValue(spec.endpoint, service.spec.endpoint)) {
    checkPortClash(
      spec,
      tx.services.find(all).filter((other) => other.id !== service.id),
    );
  }
}

function modeOf(spec: ServiceSpec): "replicated" | "global" | "replicated-job" | "global-job" {
  if (spec.replicated) return "replicated";
  if (spec.global) return "global";
  return spec.replicatedJob ? "replicated-job" : "global-job";
}

/**
 * The service under a new spec. `specVersion` becomes the version that the client saw, as in Swarm: it tells task specs
 * apart and is not comparable with `meta.version`.
 */
function respecified(service: Service, spec: ServiceSpec, version: Version): Service {
  return {
    ...service,
    spec,
    specVersion: version,
    previousSpec: service.spec,
    previousSpecVersion: service.specVersion,
    updateStatus: undefined,
  };
}

/** The service under its previous spec; the one it leaves becomes the previous. */
function rolledBack(service: Service, now: Timestamp): Service {
  if (!service.previousSpec) {
    throw new SwarmError(
      "FailedPrecondition",
      `service ${service.id} does not have a previous spec: there is no update to roll back`,
    );
  }
  return {
    ...service,
    spec: service.previousSpec,
    specVersion: service.previousSpecVersion,
    previousSpec: service.spec,
    previousSpecVersion: service.specVersion,
    updateStatus: UpdateStatus.create({
      state: UpdateStatus_UpdateState.ROLLBACK_STARTED,
      message: "manually requested rollback",
      startedAt: now,
    }),
  };
}
