#include "paths.h"

#include <algorithm>

#include "../sys/fs.h"

namespace starling::cgroup {
namespace {

// mountinfo writes space, tab, newline and backslash as three octal digits (proc(5)).
std::string Unescape(std::string_view text) {
  std::string out;
  auto octal = [](char c) { return c >= '0' && c <= '7'; };
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// `path` as seen below a mount whose root is `root`; "/" when it lies outside.
std::string Below(std::string_view path, std::string_view root) {
  if (root == "/") return std::string(path);
  if (path == root) return "/";
  if (path.size() > root.size() && path.substr(0, root.size()) == root && path[root.size()] == '/') {
    return std::string(path.substr(root.size()));
  }
  return "/";
}

// The path of the line of /proc/self/cgroup ("4:memory:/x") whose controllers include `controller`; "" is v2's line.
std::string OwnPath(std::string_view self_cgroup, std::string_view controller) {
  for (std::string_view line : fs::Split(self_cgroup, '\n')) {
    size_t first = line.find(':');
    size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    for (std::string_view name : fs::Split(line.substr(first + 1, second - first - 1), ',')) {
      if (name == controller) return std::string(line.substr(second + 1));
    }
  }
  return "/";
}

}  // namespace

bool Hierarchy::Has(std::string_view controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

std::vector<Hierarchy> ParseHierarchies(std::string_view mountinfo, std::string_view self_cgroup) {
  static constexpr std::string_view kControllers[] = {"cpu",     "cpuacct", "cpuset",     "memory", "pids",
                                                      "devices", "freezer", "blkio",      "hugetlb", "rdma",
                                                      "net_cls", "net_prio", "perf_event", "misc",   "name=systemd"};
  std::vector<Hierarchy> found;
  for (std::string_view line : fs::Split(mountinfo, '\n')) {
    size_t separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    std::vector<std::string_view> before = fs::Split(line.substr(0, separator), ' ');
    std::vector<std::string_view> after = fs::Split(line.substr(separator + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    Hierarchy hierarchy;
    hierarchy.v2 = after[0] == "cgroup2";
    if (!hierarchy.v2 && after[0] != "cgroup") continue;
    if (!hierarchy.v2) {
      for (std::string_view option : fs::Split(after[2], ',')) {
        if (std::find(std::begin(kControllers), std::end(kControllers), option) != std::end(kControllers)) {
          hierarchy.controllers.emplace_back(option);
        }
      }
      if (hierarchy.controllers.empty()) continue;
    }
    hierarchy.mount_point = Unescape(before[4]);
    std::string own = OwnPath(self_cgroup, hierarchy.v2 ? "" : std::string_view(hierarchy.controllers[0]));
    hierarchy.own = Below(own, Unescape(before[3]));
    bool known = std::any_of(found.begin(), found.end(), [&](const Hierarchy& other) {
      return other.v2 == hierarchy.v2 && other.controllers == hierarchy.controllers;
    });
    if (!known) found.push_back(std::move(hierarchy));
  }
  if (found.size() == 1 && found[0].v2) found[0].pure_v2 = true;
  return found;
}

std::string ContainersGroup(const Hierarchy& hierarchy, std::string_view parent) {
  if (!parent.empty()) return std::string(parent);
  std::string_view own = hierarchy.own;
  if (own.ends_with(".service") || own.ends_with(".scope")) return "/starling.slice";
  if (hierarchy.pure_v2 && own != "/") {
    std::string beside = fs::Parent(own);
    return beside == "/" ? "/starling" : beside + "/starling";
  }
  return own == "/" ? "/starling" : std::string(own) + "/starling";
}

Status CheckGroupName(std::string_view name, std::string_view field) {
  auto refuse = [&](std::string_view problem) {
    return Error{std::string(field) + " `" + std::string(name) + "`: " + std::string(problem), EINVAL};
  };
  if (name.empty() || name.size() > 1024) return refuse("must have 1 to 1024 characters");
  std::string_view parts = name.front() == '/' ? name.substr(1) : name;
  for (std::string_view part : fs::Split(parts, '/')) {
    if (part.empty() || part == "." || part == "..") return refuse("must not have empty, `.` or `..` parts");
    for (char c : part) {
      if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return refuse("must not have blanks or control characters");
    }
  }
  return {};
}

}  // namespace starling::cgroup
