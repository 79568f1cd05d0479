#include "launcher/routes/route_table.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>

#include "data/files/hdf5_file.h"
#include "launcher/common/progress.h"
#include "launcher/common/text_format.h"

namespace dualpath {

namespace {

// Texts and what of them one pass reads.
struct Sequence {
  std::size_t text;
  std::size_t begin, end;  // of its tokens
};

// The columns of the table, all of N tokens.
class TableWriter {
 public:
  TableWriter(const RouteTexts& texts, RouteTable& table) : texts_(texts), table_(table) {}

  void allocate(std::size_t layers, std::size_t iterations) {
    table_.layers = layers;
    table_.iterations = iterations;
    table_.tokens = texts_.num_tokens();
    for (std::vector<float>* column :
         {&table_.gate_deep, &table_.gate_wide, &table_.gate_entropy, &table_.deep_share,
          &table_.cosine, &table_.input_norm, &table_.deep_update_norm, &table_.wide_update_norm,
          &table_.expected_iterations})
      column->resize(layers * table_.tokens);
    for (std::vector<float>* column : {&table_.weights, &table_.q, &table_.changes})
      column->resize(layers * iterations * table_.tokens);
  }

  // The tokens of a sequence, whose rows begin at `row` of the pass.
  void add_tokens(const Sequence& sequence, std::size_t row, std::span<const TokenScore> scores) {
    const RouteText& text = texts_.texts[sequence.text];
    for (std::size_t t = sequence.begin; t < sequence.end; ++t) {
      table_.ids.push_back(text.tokens[t]);
      table_.positions.push_back(static_cast<std::int32_t>(t - sequence.begin));
      table_.classes.push_back(text.classes[t]);
      table_.corpora.push_back(static_cast<std::uint32_t>(text.corpus));
      table_.texts.push_back(static_cast<std::uint32_t>(sequence.text));
      const bool is_last = t + 1 == text.tokens.size();
      const double nats = scores[row + t - sequence.begin].nats;
      CHECK_AS(ExitCode::numerics, std::isfinite(nats),
               "the model gives a token the log-likelihood {}", -nats);
      table_.nats.push_back(is_last ? std::nanf("") : static_cast<float>(nats));
    }
  }

  // The read-outs of a pass, whose first row is token `first` of the table.
  void add_readouts(const RowReadouts& r, std::size_t first) {
    const auto rows = static_cast<std::size_t>(r.rows);
    constexpr auto columns = static_cast<std::size_t>(op::PathReadout::num_columns);
    for (std::size_t layer = 0; layer < table_.layers; ++layer) {
      const std::size_t to = layer * table_.tokens + first;
      for (std::size_t t = 0; t < rows; ++t) {
        const float* path = r.paths.data() + (layer * rows + t) * columns;
        table_.gate_deep[to + t] = path[op::PathReadout::gate_deep];
        table_.gate_wide[to + t] = path[op::PathReadout::gate_wide];
        table_.gate_entropy[to + t] = path[op::PathReadout::gate_entropy];
        table_.deep_share[to + t] = path[op::PathReadout::deep_share];
        table_.cosine[to + t] = path[op::PathReadout::cosine];
      }
      const auto norms = [&](TokenReadouts::Norm norm) {
        return r.norms.begin() +
               static_cast<std::ptrdiff_t>((layer * TokenReadouts::num_norms + norm) * rows);
      };
      const auto put = [&](std::vector<float>& column, TokenReadouts::Norm norm) {
        std::copy_n(norms(norm), rows, column.begin() + static_cast<std::ptrdiff_t>(to));
      };
      put(table_.input_norm, TokenReadouts::input);
      put(table_.deep_update_norm, TokenReadouts::deep_update);
      put(table_.wide_update_norm, TokenReadouts::wide_update);
      add_iterations(r, layer, first);
    }
  }

 private:
  void add_iterations(const RowReadouts& r, std::size_t layer, std::size_t first) {
    const auto rows = static_cast<std::size_t>(r.rows);
    for (std::size_t t = 0; t < rows; ++t) {
      float expected = 0;
      for (std::size_t k = 0; k < table_.iterations; ++k) {
        const std::size_t from = (layer * table_.iterations + k) * rows + t;
        const std::size_t to = (layer * table_.iterations + k) * table_.tokens + first + t;
        table_.weights[to] = r.weights[from];
        table_.q[to] = r.q[from];
        table_.changes[to] = r.changes[from];
        expected += static_cast<float>(k + 1) * r.weights[from];
      }
      table_.expected_iterations[layer * table_.tokens + first + t] = expected;
    }
  }

  const RouteTexts& texts_;
  RouteTable& table_;
};

std::vector<Sequence> cut_into_sequences(const RouteTexts& texts, std::size_t length) {
  std::vector<Sequence> sequences;
  for (std::size_t i = 0; i < texts.texts.size(); ++i) {
    const std::size_t tokens = texts.texts[i].tokens.size();
    for (std::size_t begin = 0; begin < tokens; begin += length)
      sequences.push_back({i, begin, std::min(begin + length, tokens)});
  }
  return sequences;
}

// Sequences side by side, and what follows each of their tokens.
TextRows rows_of(const RouteTexts& texts, std::span<const Sequence> sequences) {
  TextRows rows;
  for (const Sequence& sequence : sequences) {
    const std::vector<std::int32_t>& tokens = texts.texts[sequence.text].tokens;
    const auto first = static_cast<std::int32_t>(rows.num_rows());
    for (std::size_t t = sequence.begin; t < sequence.end; ++t) {
      rows.ids.push_back(tokens[t]);
      rows.positions.push_back(static_cast<std::int32_t>(t - sequence.begin));
      rows.targets.push_back(t + 1 < tokens.size() ? tokens[t + 1] : -1);
    }
    rows.segments.push_back({first, static_cast<std::int32_t>(rows.num_rows()), -1});
  }
  return rows;
}

}  // namespace

RouteTable read_routes(const RouteTexts& texts, Scorer& scorer, const InterventionConfig& intervene,
                       const Tokenizer& tokenizer, std::int64_t sequence_length) {
  RouteTable table;
  TableWriter writer(texts, table);
  const std::vector<Sequence> sequences =
      cut_into_sequences(texts, static_cast<std::size_t>(sequence_length));
  ProgressLine progress("reading the routes", static_cast<double>(texts.num_tokens()));
  for (std::size_t begin = 0, end = 0; begin < sequences.size(); begin = end) {
    std::int64_t count = 0;
    for (end = begin; end < sequences.size(); ++end) {
      count += static_cast<std::int64_t>(sequences[end].end - sequences[end].begin);
      if (count > scorer.max_rows()) break;
    }
    const auto pass = std::span(sequences).subspan(begin, end - begin);
    const TextRows rows = rows_of(texts, pass);
    ForcedGates gates;
    for (const TextRows::Segment& s : rows.segments)
      force_gates(intervene, tokenizer,
                  std::span(rows.ids).subspan(static_cast<std::size_t>(s.begin),
                                              static_cast<std::size_t>(s.end - s.begin)),
                  s.begin, gates);
    std::vector<TokenScore> scores(rows.targets.size());
    RowReadouts readouts;
    scorer.score(rows, scores, intervene.changes_gates() ? &gates : nullptr, &readouts);
    if (begin == 0)
      writer.allocate(static_cast<std::size_t>(readouts.layers),
                      static_cast<std::size_t>(readouts.iterations));
    writer.add_readouts(readouts, table.ids.size());
    for (std::size_t i = 0; i < pass.size(); ++i)
      writer.add_tokens(pass[i], static_cast<std::size_t>(rows.segments[i].begin), scores);
    progress.update(static_cast<double>(table.ids.size()),
                    [&](double) { return grouped(table.ids.size()) + " tokens"; });
  }
  return table;
}

void write_routes(const RouteTable& table, const RouteTexts& texts,
                  const std::filesystem::path& path) {
  Hdf5File file = Hdf5File::create(path.string(), ExitCode::checkpoint);
  const auto write = [&]<class T>(const char* name, const std::vector<T>& values) {
    file.create_dataset(name, hdf5_type_of<T>, values.size());
    file.write(name, 0, std::span<const T>(values));
  };
  write("tokens/id", table.ids);
  write("tokens/position", table.positions);
  write("tokens/class", table.classes);
  write("tokens/corpus", table.corpora);
  write("tokens/text", table.texts);
  write("tokens/nats", table.nats);
  write("layers/gate_deep", table.gate_deep);
  write("layers/gate_wide", table.gate_wide);
  write("layers/gate_entropy", table.gate_entropy);
  write("layers/deep_share", table.deep_share);
  write("layers/cosine", table.cosine);
  write("layers/input_norm", table.input_norm);
  write("layers/deep_update_norm", table.deep_update_norm);
  write("layers/wide_update_norm", table.wide_update_norm);
  write("layers/expected_iterations", table.expected_iterations);
  write("iterations/weight", table.weights);
  write("iterations/q", table.q);
  write("iterations/change", table.changes);
  file.set_attribute("/", "tokens", static_cast<std::uint64_t>(table.tokens));
  file.set_attribute("/", "layers", static_cast<std::uint64_t>(table.layers));
  file.set_attribute("/", "iterations", static_cast<std::uint64_t>(table.iterations));
  file.set_attribute("/", "classes", fmt::format("{}", fmt::join(texts.classes, "\n")));
  file.set_attribute("/", "corpora", fmt::format("{}", fmt::join(texts.corpora, "\n")));
  file.close();
}

}  // namespace dualpath
