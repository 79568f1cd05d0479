#include "launcher/evaluate/task_layouts.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "data/files/file_io.h"
#include "launcher/evaluate/json_lines.h"

namespace dualpath {

namespace {

using Texts = std::vector<std::string>;

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string stripped(std::string_view text) {
  constexpr std::string_view spaces = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(spaces);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(spaces) - first + 1));
}

// ASCII letters only; what is beyond them stays.
char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}
char upper(char c) {
  return static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
}

Texts texts_of(const Json& list, const char* field) {
  CHECK_AS(ExitCode::data, list.is_array() && !list.empty(), "\"{}\" is no list of texts", field);
  Texts texts;
  for (const Json& text : list) {
    CHECK_AS(ExitCode::data, text.is_string(), "\"{}\" has {}, which is no text", field,
             text.dump());
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

// A number, or its text.
std::string word_of(const Json& object, const char* field) {
  CHECK_AS(ExitCode::data, object.contains(field), "there is no \"{}\"", field);
  const Json& value = object[field];
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::size_t index_of(const Texts& labels, const std::string& answer) {
  const auto it = std::ranges::find(labels, answer);
  CHECK_AS(ExitCode::data, it != labels.end(), "the answer \"{}\" is none of the choices", answer);
  return static_cast<std::size_t>(it - labels.begin());
}

Json item(const std::string& context, const Texts& continuations, std::size_t gold) {
  return {{"context", context}, {"continuations", continuations}, {"gold", gold}};
}

Texts behind_a_space(Texts texts) {
  for (std::string& text : texts) text.insert(0, " ");
  return texts;
}

// The choices of ARC, CommonsenseQA and OpenBookQA: {"text": [...], "label": [...]}, or a list of
// {"text", "label"}.
struct Choices {
  Texts texts, labels;
  explicit Choices(const Json& choices) {
    if (choices.is_object() && choices.contains("text") && choices.contains("label")) {
      texts = texts_of(choices["text"], "choices.text");
      labels = texts_of(choices["label"], "choices.label");
    } else {
      CHECK_AS(ExitCode::data, choices.is_array() && !choices.empty(), "\"choices\" is no list");
      for (const Json& choice : choices) {
        CHECK_AS(ExitCode::data, choice.is_object(), "\"choices\" has {}, not an object",
                 choice.dump());
        texts.push_back(text_of(choice, "text"));
        labels.push_back(text_of(choice, "label"));
      }
    }
    CHECK_AS(ExitCode::data, texts.size() == labels.size(), "{} choices have {} labels",
             texts.size(), labels.size());
  }
};

Json arc(const std::string& question, const Choices& choices, const Json& line) {
  return item("Question: " + question + "\nAnswer:", behind_a_space(choices.texts),
              index_of(choices.labels, word_of(line, "answerKey")));
}

Json commonsense_qa(const std::string& question, const Choices& choices, const Json& line) {
  std::string context = "Question: " + stripped(question) + "\n";
  Texts letters;
  for (std::size_t i = 0; i < choices.texts.size(); ++i) {
    letters.emplace_back(1, static_cast<char>('A' + i));
    context += letters.back() + ". " + choices.texts[i] + "\n";
  }
  return item(context + "Answer:", behind_a_space(letters),
              index_of(choices.labels, word_of(line, "answerKey")));
}

Json question_and_choices(const Json& line) {
  const Json& question = line["question"];
  // As the authors publish it, the choices are part of the question.
  const bool is_nested = question.is_object();
  const std::string text = is_nested ? text_of(question, "stem") : text_of(line, "question");
  const Choices choices(is_nested ? question.value("choices", Json()) : line["choices"]);
  const bool has_concept =
      line.contains("question_concept") || (is_nested && question.contains("question_concept"));
  return has_concept ? commonsense_qa(text, choices, line) : arc(text, choices, line);
}

Json open_book_qa(const Json& line) {
  const Choices choices(line["choices"]);
  return item(text_of(line, "question_stem"), behind_a_space(choices.texts),
              index_of(choices.labels, word_of(line, "answerKey")));
}

// "[...]" goes, unless a line ends within it.
std::string without_brackets(const std::string& text) {
  std::string kept;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t end = text[i] == '[' ? text.find_first_of("]\n", i) : std::string::npos;
    if (end != std::string::npos && text[end] == ']') {
      i = end;
    } else {
      kept += text[i];
    }
  }
  return kept;
}

std::string hellaswag_text(std::string_view text) {
  return replaced(without_brackets(replaced(stripped(text), " [title]", ". ")), "  ", " ");
}

// Python's str.capitalize(): the rest becomes small letters.
std::string capitalized(std::string text) {
  std::ranges::transform(text, text.begin(), lower);
  if (!text.empty()) text[0] = upper(text[0]);
  return text;
}

Json hellaswag(const Json& line) {
  Texts endings;
  for (const std::string& ending : texts_of(line["endings"], "endings"))
    endings.push_back(hellaswag_text(ending));
  Texts labels;
  for (std::size_t i = 0; i < endings.size(); ++i) labels.push_back(std::to_string(i));
  const std::string context = text_of(line, "activity_label") + ": " + text_of(line, "ctx_a") +
                              " " + capitalized(text_of(line, "ctx_b"));
  return item(hellaswag_text(context), behind_a_space(endings),
              index_of(labels, word_of(line, "label")));
}

Json piqa(const Json& line) {
  return item("Question: " + text_of(line, "goal") + "\nAnswer:",
              behind_a_space({text_of(line, "sol1"), text_of(line, "sol2")}),
              index_of({"0", "1"}, word_of(line, "label")));
}

Json winogrande(const Json& line) {
  const std::string sentence = text_of(line, "sentence");
  const std::size_t blank = sentence.find('_');
  CHECK_AS(ExitCode::data, blank != std::string::npos, "\"sentence\" has no \"_\"");
  const std::string before = sentence.substr(0, blank);
  return {{"contexts", {before + text_of(line, "option1"), before + text_of(line, "option2")}},
          {"continuations", {" " + stripped(sentence.substr(blank + 1))}},
          {"gold", index_of({"1", "2"}, word_of(line, "answer"))}};
}

Json copa(const Json& line) {
  std::string premise = stripped(text_of(line, "premise"));
  if (!premise.empty()) premise.pop_back();  // its full stop
  const std::string question = text_of(line, "question");
  CHECK_AS(ExitCode::data, question == "cause" || question == "effect",
           "\"question\" is \"{}\", neither cause nor effect", question);
  Texts choices = {text_of(line, "choice1"), text_of(line, "choice2")};
  for (std::string& choice : choices) {
    if (!choice.empty()) choice[0] = lower(choice[0]);
    choice.insert(0, "  ");  // lm-evaluation-harness's choice begins with a space of its own
  }
  return item(premise + (question == "cause" ? " because" : " therefore"), choices,
              index_of({"0", "1"}, word_of(line, "label")));
}

Json social_iqa(const Json& line) {
  return item("Q: " + text_of(line, "context") + " " + text_of(line, "question") + "\nA:",
              behind_a_space(
                  {text_of(line, "answerA"), text_of(line, "answerB"), text_of(line, "answerC")}),
              index_of({"1", "2", "3"}, word_of(line, "label")));
}

Json lambada(const Json& line) {
  const std::string text = text_of(line, "text");
  const std::size_t space = text.rfind(' ');
  CHECK_AS(ExitCode::data, space != std::string::npos && space + 1 < text.size(),
           "\"text\" has no last word behind a space");
  return item(text.substr(0, space), {text.substr(space)}, 0);
}

std::size_t gold_of(const Json& line) {
  const std::int64_t gold = integer_of(line, "gold");
  CHECK_AS(ExitCode::data, gold >= 0, "\"gold\" is {}", gold);
  return static_cast<std::size_t>(gold);
}

Json foundry_choices(const Json& line) {
  std::string query = text_of(line, "query");
  if (query.starts_with("Question:")) query = stripped(query) + "\nAnswer:";
  return item(query, behind_a_space(texts_of(line["choices"], "choices")), gold_of(line));
}

Json foundry_contexts(const Json& line) {
  return {{"contexts", texts_of(line["context_options"], "context_options")},
          {"continuations", {" " + text_of(line, "continuation")}},
          {"gold", gold_of(line)}};
}

struct Layout {
  std::initializer_list<const char*> fields;  // that tell it
  Json (*convert)(const Json& line);
};

const std::array kLayouts = {
    Layout{{"activity_label", "ctx_a", "ctx_b", "endings"}, hellaswag},
    Layout{{"goal", "sol1", "sol2"}, piqa},
    Layout{{"sentence", "option1", "option2"}, winogrande},
    Layout{{"premise", "choice1", "choice2", "question"}, copa},
    Layout{{"context", "question", "answerA", "answerB", "answerC"}, social_iqa},
    Layout{{"question_stem", "choices"}, open_book_qa},
    Layout{{"question", "answerKey"}, question_and_choices},
    Layout{{"query", "choices", "gold"}, foundry_choices},
    Layout{{"context_options", "continuation", "gold"}, foundry_contexts}};

}  // namespace

Json as_task_item(const Json& line) {
  for (const Layout& layout : kLayouts) {
    if (std::ranges::all_of(layout.fields, [&](const char* field) { return line.contains(field); }))
      return layout.convert(line);
  }
  if (line.contains("text") && !line.contains("continuations")) return lambada(line);
  return line;
}

bool OlmesRequests::is_one(const Json& line) {
  return line.contains("request") && line.contains("doc_id") && line.contains("idx");
}

void OlmesRequests::add(const Json& line, std::size_t line_number, std::vector<TaskItem>& items) {
  constexpr std::int64_t unconditional = 1'000'000;
  const Json& request = line["request"];
  CHECK_AS(ExitCode::data, request.is_object(), "\"request\" is no object");
  const std::int64_t doc_id = integer_of(line, "doc_id");
  if (doc_id >= unconditional) {
    const auto it = item_of_.find(doc_id - unconditional);
    CHECK_AS(ExitCode::data, it != item_of_.end(), "no request with \"doc_id\" {} stands before",
             doc_id - unconditional);
    items[it->second].unconditional_context = text_of(request, "context");
    return;
  }
  const auto [it, is_new] = item_of_.try_emplace(doc_id, items.size());
  if (is_new) {
    TaskItem& item = items.emplace_back();
    item.counts_leading_space = true;
    item.line = line_number;
    const Json& label = line.contains("label") ? line["label"] : Json();
    if (label.is_number_integer()) item.gold = gold_of({{"gold", label}});
  }
  items[it->second].contexts.push_back(text_of(request, "context"));
  items[it->second].continuations.push_back(text_of(request, "continuation"));
}

void OlmesRequests::finish(Task& task) const {
  for (const TaskItem& item : task.items) {
    CHECK_AS(ExitCode::data, item.gold < item.continuations.size(),
             "{}:{}: \"label\" is {}, there are {} continuations", task.file, item.line, item.gold,
             item.continuations.size());
  }
  const std::filesystem::path file = std::filesystem::path(task.file).parent_path() / "config.json";
  if (!path_exists(file, ExitCode::data)) return;
  const Json config = parse_object(read_file(file, ExitCode::data));
  if (!config.contains("task_config")) return;
  const Json& settings = config["task_config"];
  task.name = settings.value("task_name", task.name);
  if (std::ranges::all_of(task.items, [](const auto& i) { return i.continuations.size() == 1; })) {
    task.primary_metric = "bits_per_byte";
    return;
  }
  static const std::map<std::string, std::string> keys = {
      {"acc_raw", "accuracy"},
      {"acc_per_token", "accuracy_per_token"},
      {"acc_per_char", "accuracy_per_character"},
      {"acc_per_byte", "accuracy_per_byte"},
      {"acc_uncond", "accuracy_unconditional"}};
  const auto it = keys.find(settings.value("primary_metric", ""));
  if (it != keys.end()) task.primary_metric = it->second;
}

}  // namespace dualpath
