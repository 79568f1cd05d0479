// Reading, printing, comparing and explaining config structs (core/config/field.h).
//
//   ConfigSource source;
//   source.add_file("configs/quickstart.yaml");
//   source.add_override("model.layers=8");
//   ConfigProblems problems;
//   const auto config = read_config<RunConfig>(source, problems);
//   validate(config, problems);
//   throw_if_any(problems, source);
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/config/config_fields.h"
#include "core/config/config_reader.h"
#include "core/config/config_source.h"

namespace dualpath {

// A value that differs between two configs, in YAML; "" where a list element is missing.
struct ConfigChange {
  std::string key;
  std::string before;
  std::string after;
};

// Throws one Error(configuration) that tells every problem with the place its key was given, if
// there is any; of more than most_problems_told the first of them, and how many more.
void throw_if_any(const ConfigProblems& problems, const ConfigSource& source);

std::string print_fields(std::span<const ConfigField> fields);
std::string fields_help(std::span<const ConfigField> fields);
std::vector<ConfigChange> compare_fields(std::span<const ConfigField> before,
                                         std::span<const ConfigField> after);

// Every field of the config with its value, in order. element_template: ConfigFieldLister.
template <class Config>
std::vector<ConfigField> list_fields(Config config, bool element_template = false) {
  ConfigFieldLister lister(element_template);
  visit_fields(lister, config);
  return lister.take();
}

// The defaults of Config, changed by the source. Adds all that is wrong to problems; the fields
// that have one hold default values.
template <class Config>
Config read_config(const ConfigSource& source, ConfigProblems& problems) {
  Config config;
  ConfigReader reader(source, problems);
  visit_fields(reader, config);
  reader.finish();
  return config;
}

// The whole config as YAML, from which read_config makes the same config.
template <class Config>
std::string print_config(const Config& config) {
  return print_fields(list_fields(config));
}

// One line a field: key, default, unit, meaning, possible values.
template <class Config>
std::string config_help() {
  return fields_help(list_fields(Config(), true));
}

// What differs, in the order of the fields.
template <class Config>
std::vector<ConfigChange> compare_configs(const Config& before, const Config& after) {
  return compare_fields(list_fields(before), list_fields(after));
}

}  // namespace dualpath
