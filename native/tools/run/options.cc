#include "options.h"

namespace starling::run {
namespace {

const Option* Find(const std::vector<Option>& table, const std::string& name, char letter) {
  for (const Option& option : table) {
    if (!name.empty() ? option.name == name : option.letter == letter && letter != 0) return &option;
  }
  return nullptr;
}

}  // namespace

std::string Parsed::Value(const std::string& name, const std::string& fallback) const {
  auto found = values.find(name);
  return found == values.end() ? fallback : found->second.back();
}

std::vector<std::string> Parsed::All(const std::string& name) const {
  auto found = values.find(name);
  return found == values.end() ? std::vector<std::string>() : found->second;
}

Result<Parsed> ParseOptions(const std::vector<std::string>& arguments, size_t& at, const std::vector<Option>& table, bool stops_at_word) {
  Parsed parsed;
  for (; at < arguments.size(); at++) {
    const std::string& word = arguments[at];
    if (word == "--") {
      at++;
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      if (stops_at_word) break;
      parsed.words.push_back(word);
      continue;
    }
    bool is_long = word[1] == '-';
    size_t equals = is_long ? word.find('=') : std::string::npos;
    std::string name = is_long ? word.substr(2, equals == std::string::npos ? equals : equals - 2) : "";
    const Option* option = Find(table, name, is_long ? 0 : word[1]);
    if (option == nullptr) return Error{"unknown option `" + word + "`", EINVAL};
    std::string value;
    if (equals != std::string::npos) {
      if (!option->takes_value) return Error{"option `--" + name + "` takes no value", EINVAL};
      value = word.substr(equals + 1);
    } else if (!is_long && word.size() > 2) {
      if (!option->takes_value) return Error{"unknown option `" + word + "`: write short options one by one", EINVAL};
      value = word.substr(2);
    } else if (option->takes_value) {
      if (at + 1 == arguments.size()) return Error{"option `" + word + "` needs a value", EINVAL};
      value = arguments[++at];
    }
    parsed.values[option->name].push_back(value);
  }
  while (at < arguments.size() && !stops_at_word) parsed.words.push_back(arguments[at++]);
  return parsed;
}

}  // namespace starling::run
