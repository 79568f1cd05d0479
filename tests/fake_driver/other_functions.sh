# other_functions.sh NM STUB SOURCE OUTPUT: the functions of STUB that SOURCE does not define, as
# functions that do nothing.
set -e
"$1" -D --defined-only "$2" | awk '$2 == "T" { print $3 }' | sort -u | while read -r name; do
  grep -q "^int $name(" "$3" || echo "int $name(void) { return 0; }"
done > "$4"
