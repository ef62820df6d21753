# Writes the commit that is built into a header, when it has changed: a seed alone reproduces nothing.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --abbrev=12 --dirty=-changed --exclude=*
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
    set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define SIM_COMMIT \"${commit}\"\n")
