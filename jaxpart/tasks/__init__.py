"""The experiments: functions of a frozen encoder and a data set."""
