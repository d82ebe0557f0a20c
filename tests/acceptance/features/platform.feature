Feature: A session is a durable workspace that runs tools in a sandbox

  Scenario: An echo is durably recorded, and the broker never sees a tool call
    Given a session
    When the tool "echo" is run with the text "hello"
    Then the command succeeds with the output "hello"
    And the log of the session holds the command from its acceptance to its end
    And the broker was never asked for anything but health

  Scenario: The uppercase tool runs in a sandbox
    Given a session
    When the tool "uppercase" is run with the text "nadi grüßt"
    Then the command succeeds with the output "NADI GRÜSST" or "NADI GRÜßT"
    And the result says that it was isolated
