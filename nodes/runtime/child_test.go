package runtime_test

const childEnv = "HEADWAY_RUNTIME_TEST_CHILD"

func childMain() int { return 0 }
