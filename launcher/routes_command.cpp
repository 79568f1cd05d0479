// dualpath routes: which way tokens go through a model, and how far.
#include <filesystem>

#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/evaluate/intervention.h"
#include "launcher/evaluate/load_model.h"
#include "launcher/job/device_choice.h"
#include "launcher/job/job.h"
#include "launcher/routes/route_page.h"

namespace dualpath {

namespace {

constexpr const char* usage =
    "dualpath routes RUN|CHECKPOINT [routes.texts=[FILE...]] [routes.conllu=FILE] "
    "[routes.folder=DIR] [key=value...]";

struct RoutesOptions {
  RoutesConfig routes;
  InterventionConfig intervene;
  std::int64_t step = 0;
  DeviceChoice device = DeviceChoice::automatic;
  std::int64_t threads = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, RoutesOptions& c) {
  visit.section("routes", c.routes, "what is read, and where the report goes");
  visit.section("intervene", c.intervene, "what the model's gates and iterations are changed to");
  visit.field("step", c.step,
              {.help = "the run's checkpoint of this step; 0: the newest whole one",
               .min = 0,
               .max = bounds::steps});
  visit.field("device", c.device, {.help = "what computes; auto: a GPU where there is one"});
  visit.field("threads", c.threads,
              {.help = "CPU threads; 0: all cores", .min = 0, .max = bounds::threads});
}

std::string help() {
  return fmt::format(
      R"(usage: {}

Reads texts with a model and tells, for each token and layer, what both paths do: gates, deep share,
cosine of the two updates, the router's choices, mixture weights, expected iterations, norms.

  report.html   one page, without network: figures by layer, densities of the deep share, classes of
                tokens, positions, a text coloured by its deep share
  summary.json  the same figures: means by layer, class, corpus and position; gate entropy; how often
                tokens collapse to one path
  routes.h5     all read-outs of all tokens

The deep share of a token is g_d|D_d| / (g_d|D_d| + g_w|D_w|), D the update that a path makes of the
layer's input. Texts are read in sequences of model.sequence_length tokens, as in training.

fields:
{})",
      usage, config_help<RoutesOptions>());
}

RouteTexts read_texts(const RoutesConfig& config, const ModelPlace& place,
                      const Tokenizer& tokenizer) {
  if (!config.texts.empty() || !config.conllu.empty())
    return read_route_texts(config, config.texts, tokenizer);
  return read_route_corpora(config, validation_corpora(place, "routes.texts or routes.conllu"),
                            tokenizer);
}

void check_model(const ModelConfig& model) {
  const bool has_paths = std::ranges::any_of(model.architecture, [](Architecture a) {
    return a == Architecture::dual_path || a == Architecture::looped;
  });
  CHECK_AS(ExitCode::configuration, has_paths,
           "the model has no routes: no layer is dual_path or looped");
}

ExitCode run(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 1, 1);
  const auto options = read_options<RoutesOptions>(arguments.overrides);
  CHECK_AS(ExitCode::configuration, options.routes.texts.empty() || options.routes.conllu.empty(),
           "routes.texts and routes.conllu: give one of them");
  const ModelPlace place = find_model(arguments.positional[0], options.step);
  const std::filesystem::path folder = options.routes.folder.empty()
                                           ? place.run / "routes"
                                           : std::filesystem::path(options.routes.folder);
  make_folder(folder, ExitCode::checkpoint);
  const auto device = make_device(options.device, Job::num_threads(options.threads, 1), 0);
  const auto stream = device->make_stream();
  const auto model_options = [&](const ModelConfig& model) {
    check_model(model);
    check_intervention(options.intervene, model);
    return ModelOptions{.micro_batch_size = std::max<std::int64_t>(1, 2048 / model.sequence_length),
                        .forced_iterations = options.intervene.iterations,
                        .training = false};
  };
  const auto [checkpoint, model] = load_model(place, model_options, *device, *stream);
  const Tokenizer tokenizer = load_tokenizer_of(place, checkpoint);
  const RouteTexts texts = read_texts(options.routes, place, tokenizer);
  const std::int64_t length = model->config().sequence_length;
  Scorer scorer(*model, model_options(model->config()).micro_batch_size * length);
  const RouteTable table = read_routes(texts, scorer, options.intervene, tokenizer, length);
  const RouteSummary summary = summarize(table, texts);
  write_routes(table, texts, folder / "routes.h5");
  Json json = to_json(summary, texts);
  json["checkpoint"] = checkpoint.folder.string();
  write_file(folder / "summary.json", json.dump(2) + "\n", ExitCode::checkpoint);
  const std::string source =
      fmt::format("{}, step {}", place.run.filename().string(), checkpoint.manifest.step);
  write_file(folder / "report.html", route_page({table, texts, summary, tokenizer, source}),
             ExitCode::checkpoint);
  fmt::print("{} tokens, {:.4f} nats a token: {}\n", table.tokens, summary.nats,
             (folder / "report.html").string());
  return ExitCode::success;
}

}  // namespace

const Command routes_command = {"routes", "what gates and paths do, by token, layer and class",
                                help, run};

}  // namespace dualpath
