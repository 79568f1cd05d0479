# cmake -D SOURCE=... -D OUTPUT=... -D VERSION=... -P write_version.cmake: fills version.cpp.in and
# leaves the output untouched where nothing changed.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
                WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE COMMIT ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT COMMIT)
  set(COMMIT unknown)
endif()
configure_file(${SOURCE}/launcher/job/version.cpp.in ${OUTPUT} @ONLY)
