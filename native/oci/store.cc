#include "store.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "../base/json.h"
#include "../cgroup/cgroup.h"
#include "../sys/fs.h"

namespace starling::oci {
namespace {

constexpr int64_t kVersion = 1;
// The version of the specification that the state follows.
constexpr char kOciVersion[] = "1.2.0";

std::string StringList(const std::vector<std::string>& strings) {
  std::string text = "[";
  for (const std::string& string : strings) {
    if (text.size() > 1) text.push_back(',');
    json::AppendString(text, string);
  }
  return text + "]";
}

std::string StringMap(const std::vector<std::pair<std::string, std::string>>& pairs) {
  json::Object object;
  for (const auto& [name, value] : pairs) object.String(name, value);
  return object.Done();
}

Error Unknown(const std::string& id) { return Error{"container `" + id + "` does not exist", ENOENT}; }

// "FROZEN" on v1, 1 of `frozen` in v2's cgroup.events.
bool Frozen(const Record& record) {
  for (const std::string& folder : record.cgroups) {
    auto v1 = fs::ReadFile(folder + "/freezer.state", 64);
    if (v1.ok() && v1->starts_with("FROZEN")) return true;
    auto v2 = fs::ReadFile(folder + "/cgroup.events", 4096);
    if (v2.ok() && v2->find("frozen 1") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

const char* NameOf(Stage stage) {
  switch (stage) {
    case Stage::kCreating: return "creating";
    case Stage::kCreated: return "created";
    case Stage::kRunning: return "running";
    case Stage::kPaused: return "paused";
    case Stage::kStopped: return "stopped";
  }
  return "";
}

Status CheckId(const std::string& id) {
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-' || c == '.';
  };
  bool good = !id.empty() && id.size() <= 255 && id != "." && id != ".." && std::all_of(id.begin(), id.end(), fits);
  if (good) return {};
  return Error{"container id `" + id + "`: must be 1 to 255 letters, digits or any of _+-.", EINVAL};
}

uint64_t StartTime(pid_t pid) {
  auto text = fs::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  return text.ok() ? StartTimeOf(*text) : 0;
}

uint64_t StartTimeOf(std::string_view stat) {
  // The second field is the program's name in parentheses and may hold anything.
  size_t end = stat.rfind(')');
  if (end == std::string_view::npos) return 0;
  std::vector<std::string_view> fields = fs::Split(stat.substr(end + 1), ' ');
  if (fields.size() < 21 || fields[1] == "Z" || fields[1] == "X") return 0;
  return std::strtoull(std::string(fields[20]).c_str(), nullptr, 10);
}

std::string Now() {
  using std::chrono::floor;
  // Not by gmtime(3), which reads the host's time zone first.
  auto now = floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  auto day = floor<std::chrono::days>(now);
  std::chrono::year_month_day date(day);
  std::chrono::hh_mm_ss time(now - day);
  char text[96];
  snprintf(text, sizeof text, "%04d-%02u-%02uT%02ld:%02ld:%02ld.%06ldZ", static_cast<int>(date.year()),
           static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<long>(time.hours().count()),
           static_cast<long>(time.minutes().count()), static_cast<long>(time.seconds().count()),
           static_cast<long>(time.subseconds().count()));
  return text;
}

std::string StateJson(const Record& record, Stage stage, pid_t pid) {
  json::Object object;
  object.String("ociVersion", kOciVersion).String("id", record.id).String("status", NameOf(stage));
  if (stage != Stage::kStopped) object.Int("pid", pid);
  object.String("bundle", record.bundle);
  if (!record.annotations.empty()) object.Raw("annotations", StringMap(record.annotations));
  return object.Done();
}

Status Store::Claim(const std::string& id) const {
  STARLING_TRY(CheckId(id));
  STARLING_TRY(fs::MakeFolders(root_, 0711));
  if (mkdir(Folder(id).c_str(), 0700) == 0) return {};
  if (errno == EEXIST) return Error{"container `" + id + "` exists already", EEXIST};
  return Error::Errno("mkdir", Folder(id));
}

Result<UniqueFd> Store::Lock(const std::string& id) const {
  STARLING_TRY(CheckId(id));
  auto folder = fs::Open(Folder(id), O_RDONLY | O_DIRECTORY);
  if (!folder.ok()) return folder.error().number == ENOENT ? Unknown(id) : folder.error();
  while (flock(folder->get(), LOCK_EX) != 0) {
    if (errno != EINTR) return Error::Errno("flock", Folder(id));
  }
  // Another command may have removed it while this one waited.
  struct stat held;
  struct stat named;
  bool same = fstat(folder->get(), &held) == 0 && stat(Folder(id).c_str(), &named) == 0 && held.st_ino == named.st_ino;
  if (!same) return Unknown(id);
  return folder;
}

Status Store::Save(const Record& record) const {
  std::string text = json::Object()
                         .Int("version", kVersion)
                         .String("id", record.id)
                         .String("bundle", record.bundle)
                         .Int("pid", record.pid)
                         .Int("startTime", static_cast<int64_t>(record.start_time))
                         .String("created", record.created)
                         .Raw("cgroups", StringList(record.cgroups))
                         .Raw("annotations", StringMap(record.annotations))
                         .Done();
  return fs::ReplaceFile(Folder(record.id) + "/state.json", text + "\n", 0600);
}

Result<Record> Store::Load(const std::string& id) const {
  STARLING_TRY(CheckId(id));
  auto text = fs::ReadFile(Folder(id) + "/state.json");
  if (!text.ok()) {
    if (text.error().number != ENOENT) return text.error();
    if (access(Folder(id).c_str(), F_OK) != 0) return Unknown(id);
    // Its create still runs, or was killed.
    Record creating;
    creating.id = id;
    return creating;
  }
  STARLING_ASSIGN(value, json::Parse(*text));
  std::string fault;
  json::Reader reader(value, "", &fault);
  if (int64_t version = reader.Int("version", 0, 0, INT32_MAX); version != kVersion) {
    return Error{Folder(id) + "/state.json: version " + std::to_string(version) + ", this program reads version 1", EPROTO};
  }
  Record record;
  record.id = reader.String("id");
  record.bundle = reader.String("bundle");
  record.pid = static_cast<pid_t>(reader.Int("pid", 0, 1, INT32_MAX));
  record.start_time = reader.Uint("startTime", 0);
  record.created = reader.String("created");
  record.cgroups = reader.Strings("cgroups");
  record.annotations = reader.Map("annotations");
  if (!fault.empty()) return Error{Folder(id) + "/state.json: " + fault, EINVAL};
  return record;
}

Result<std::string> Store::LoadConfig(const std::string& id) const { return fs::ReadFile(Folder(id) + "/config.json", 16 << 20); }

Status Store::Remove(const std::string& id) const {
  for (const char* file : {"/config.json", "/state.json", "/state.json.tmp", "/start.sock"}) unlink((Folder(id) + file).c_str());
  if (rmdir(Folder(id).c_str()) != 0 && errno != ENOENT) return Error::Errno("rmdir", Folder(id));
  return {};
}

std::vector<std::string> Store::Ids() const {
  std::vector<std::string> ids;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(root_.c_str()), closedir);
  if (folder == nullptr) return ids;
  while (const dirent* entry = readdir(folder.get())) {
    if (CheckId(entry->d_name).ok()) ids.emplace_back(entry->d_name);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Stage Store::StageOf(const Record& record) const {
  if (record.pid == 0) return Stage::kCreating;
  if (StartTime(record.pid) != record.start_time) return Stage::kStopped;
  if (access((Folder(record.id) + "/start.sock").c_str(), F_OK) == 0) return Stage::kCreated;
  return Frozen(record) ? Stage::kPaused : Stage::kRunning;
}

}  // namespace starling::oci
