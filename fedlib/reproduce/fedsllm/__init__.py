"""The tables and figures of FedSLLM: their cells, their data, what they cost, and how they are shown."""
