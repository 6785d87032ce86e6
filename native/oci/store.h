// What is known of each container, below the root folder (--root): ROOT/ID/ with
//
//   config.json   the config as it was at create: later changes in the bundle have no effect
//   state.json    version 1; written once the container is created
//   start.sock    the init listens here until it is started: there while the container is `created`
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/result.h"
#include "../sys/unique_fd.h"

namespace starling::oci {

struct Record {
  std::string id;
  std::string bundle;
  pid_t pid = 0;
  // Field 22 of /proc/PID/stat: pids are used again, a pair of both is not.
  uint64_t start_time = 0;
  // RFC 3339, UTC.
  std::string created;
  std::vector<std::string> cgroups;
  std::vector<std::pair<std::string, std::string>> annotations;
};

enum class Stage { kCreating, kCreated, kRunning, kPaused, kStopped };
const char* NameOf(Stage stage);

class Store {
 public:
  explicit Store(std::string root) : root_(std::move(root)) {}

  std::string Folder(const std::string& id) const { return root_ + "/" + id; }

  // Makes the folder of a new container. EEXIST when the id is taken.
  Status Claim(const std::string& id) const;
  // The folder's descriptor, locked against other commands until it is closed. Waits.
  Result<UniqueFd> Lock(const std::string& id) const;
  Status Save(const Record& record) const;
  Result<Record> Load(const std::string& id) const;
  Result<std::string> LoadConfig(const std::string& id) const;
  Status Remove(const std::string& id) const;
  std::vector<std::string> Ids() const;

  Stage StageOf(const Record& record) const;

 private:
  std::string root_;
};

// Letters, digits and _ + - . — it becomes the name of folders and groups.
Status CheckId(const std::string& id);

// 0 when there is no such process, or a zombie is left of it.
uint64_t StartTime(pid_t pid);

// The same from the text of /proc/PID/stat, in which the program has chosen its own name. Pure.
uint64_t StartTimeOf(std::string_view stat);

// The state as hooks and `state` show it (runtime-spec, "State"). `pid` as the reader sees it.
std::string StateJson(const Record& record, Stage stage, pid_t pid);

// "2026-11-22T04:05:06.123456Z"
std::string Now();

}  // namespace starling::oci
