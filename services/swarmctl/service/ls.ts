import {
  Control,
  ListServiceStatusesRequest,
  type ListServiceStatusesResponse_ServiceStatus,
  ListServicesRequest,
  ListServicesRequest_Filters,
  PortConfig,
  type Service,
} from "@starling/api";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { choose, inFlag } from "../flags/values.ts";
import { messageToJson } from "../format/json.ts";
import { formatList, type ListView } from "../format/list.ts";
import { formatPort, modeOf, portsOf, shortId, shortImage } from "../format/words.ts";

type Status = Pick<ListServiceStatusesResponse_ServiceStatus, "desiredTasks" | "runningTasks" | "completedTasks">;

const modes = choose({
  replicated: "replicated",
  global: "global",
  "replicated-job": "replicated job",
  "global-job": "global job",
});

export const list: Command<ListFlags & FilterFlags> = {
  flags: [...listFlags, filterFlag("id, name, label, mode")],
  async run({ client, out }, _args, flags) {
    const { ids, names, labels, other } = parseFilters(flags.filter, ["mode"]);
    const mode = other["mode"] && inFlag("--filter mode", () => modes(other["mode"]!));
    const filters = ListServicesRequest_Filters.create({ idPrefixes: ids, namePrefixes: names, labels });
    const found = (await client.call(Control.methods.listServices, ListServicesRequest.create({ filters }))).services;
    const services = found
      .filter((service) => mode === undefined || modeOf(service) === mode)
      .toSorted((a, b) => a.spec.annotations.name.localeCompare(b.spec.annotations.name));
    const ids_ = services.map(({ id }) => id);
    const { statuses } =
      flags.quiet || services.length === 0
        ? { statuses: [] }
        : await client.call(Control.methods.listServiceStatuses, ListServiceStatusesRequest.create({ services: ids_ }));
    out(formatList(services, serviceView(new Map(statuses.map((status) => [status.serviceId, status])), flags), flags));
  },
};

const noStatus: Status = { desiredTasks: 0, runningTasks: 0, completedTasks: 0 };

export function serviceView(
  statuses: ReadonlyMap<string, Status>,
  { trunc }: { readonly trunc?: boolean },
): ListView<Service> {
  const statusOf = ({ id }: Service) => statuses.get(id) ?? noStatus;
  return {
    heading: ["ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"],
    id: ({ id }) => id,
    row: (service) => [
      shortId(service.id, trunc === false),
      service.spec.annotations.name,
      modeOf(service),
      replicasOf(service, statusOf(service)),
      shortImage(service.spec.task.container?.image ?? ""),
      portsOf(service).map(formatPort).join(", "),
    ],
    json: (service) => {
      const status = statusOf(service);
      return {
        id: service.id,
        name: service.spec.annotations.name,
        mode: modeOf(service),
        replicas: `${status.runningTasks}/${status.desiredTasks}`,
        running: status.runningTasks,
        desired: status.desiredTasks,
        completed: status.completedTasks,
        image: service.spec.task.container?.image ?? "",
        ports: portsOf(service).map((port) => messageToJson(PortConfig, port)),
      };
    },
  };
}

function replicasOf({ spec }: Service, { runningTasks, desiredTasks, completedTasks }: Status): string {
  const total = spec.replicatedJob?.totalCompletions ?? (spec.globalJob ? desiredTasks + completedTasks : undefined);
  const completed = total === undefined ? "" : ` (${completedTasks}/${total} completed)`;
  const perNode = spec.task.placement?.maxReplicas ?? 0;
  const most = perNode > 0 ? ` (max ${perNode} per node)` : "";
  return `${runningTasks}/${desiredTasks}${completed}${most}`;
}
